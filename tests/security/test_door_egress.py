"""The egress proxy against hostile bytes, over real sockets (faults.md E04-E07, E12)."""

import asyncio
import contextlib
import dataclasses
import ipaddress

import pytest
from door_kit import MemoryAudit, MemoryCapsules, MemoryChunks, access, directory

from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.door import Doors

CAPS = DoorCaps(
    head_s=0.5,
    tunnel_idle_s=0.6,
    tunnel_total_s=2.5,
    tunnel_up_bytes=100_000,
    tunnel_down_bytes=300_000,
    egress_attempts=200,
)


class Upstream:
    """A server on loopback that notes what reaches it.

    `GIVE n` is answered with n bytes, all else is echoed.
    """

    def __init__(self):
        self.heard, self.connections, self.port = b"", 0, 0

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(OSError):
            while block := await reader.read(65536):
                self.heard += block
                writer.write(b"y" * int(block.split()[1]) if block.startswith(b"GIVE ") else block)
                await writer.drain()
            writer.write(b"bye")  # after the other side's end: half-close works
        writer.close()


@pytest.fixture
async def upstream():
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


class Sandbox:
    """A prepare sandbox at its door. `names` is what the resolver knows."""

    def __init__(self, port, caps=CAPS):
        self.audit, self.asked = MemoryAudit(), []
        self.names = {
            "index.test": ["127.0.0.1"],
            "inner.test": ["127.0.0.1"],
            "evil.test": ["127.0.0.1"],
        }
        capsules = MemoryCapsules(capsule=b"{}")
        self.doors = Doors(MemoryChunks(), capsules, self.audit, caps, self._resolve)
        self.access = access(
            "prepare",
            egress=(
                f"index.test:{port},private",
                f"127.0.0.1:{port},private",
                f"inner.test:{port}",
                f"[::1]:{port}",
            ),
        )
        self.port, self.place = port, directory()

    async def _resolve(self, host, port):
        self.asked.append(host)
        return [
            ipaddress.ip_address(text)
            for text in self.names.get(host, [host] if host[0].isdigit() or ":" in host else [])
        ]

    async def dial(self, head):
        reader, writer = await asyncio.open_unix_connection(str(self.place.egress))
        writer.write(head)
        async with asyncio.timeout(5):
            answer = await reader.readline()
        return answer, reader, writer

    async def status(self, head):
        answer, _, writer = await self.dial(head)
        writer.close()
        return int(answer.split()[1])

    async def tunnel(self, head=None):
        answer, reader, writer = await self.dial(
            head or f"CONNECT index.test:{self.port} HTTP/1.1\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert await reader.readline() == b"\r\n"
        return reader, writer


@pytest.fixture
async def sandbox(upstream):
    sandbox = Sandbox(upstream.port)
    await sandbox.doors.open("vsc-1", sandbox.place, sandbox.access)
    yield sandbox
    await sandbox.doors.close_all()


async def test_a_listed_destination_is_reached_both_ways_with_half_close_and_is_on_record(
    sandbox, upstream
):
    reader, writer = await sandbox.tunnel()
    writer.write(b"hello")
    writer.write_eof()

    assert await reader.read() == b"hellobye"
    writer.close()
    [attempt] = sandbox.audit.attempts
    assert (attempt.allowed, attempt.destination, attempt.run_id) == (
        True,
        f"index.test:{upstream.port}",
        sandbox.access.run_id,
    )


async def test_what_follows_the_head_in_the_same_packet_is_not_lost(sandbox, upstream):
    reader, writer = await sandbox.tunnel(
        f"CONNECT INDEX.test:{upstream.port} HTTP/1.1\r\n\r\nearly".encode()
    )
    writer.write_eof()

    assert await reader.read() == b"earlybye"
    writer.close()


async def test_a_head_in_single_bytes_is_the_same_head(sandbox, upstream):
    reader, writer = await asyncio.open_unix_connection(str(sandbox.place.egress))
    for byte in f"CONNECT index.test:{upstream.port} HTTP/1.1\r\n\r\n".encode():
        writer.write(bytes([byte]))
        await writer.drain()

    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize(
    ("authority", "status"),
    [
        (b"evil.test:%d", 403), (b"index.test.evil.test:%d", 403), (b"sub.index.test:%d", 403),
        (b"index.test:1", 403), (b"xn--ndex-6pa.test:%d", 403), (b"127.0.0.2:%d", 403),
        (b"[::ffff:127.0.0.1]:%d", 403), (b"localhost:%d", 403), (b"0.0.0.0:%d", 403),
        (b"169.254.169.254:%d", 403),
        # listed, and inside: the entry does not say private
        (b"inner.test:%d", 403), (b"[::1]:%d", 403),
        (b"index.test.:%d", 400), (b"index.test\x00.evil.test:%d", 400),
        (b"evil.test\x00.index.test:%d", 400), (b"index.test:%d\r\n", 400),
        (b"index.test\r\nX:%d", 400), (b"user@index.test:%d", 400),
        (b"index.test@evil.test:%d", 400), (b"evil.test#index.test:%d", 400),
        (b"evil.test/index.test:%d", 400), (b"http://index.test:%d", 400),
        (b"\xc4\xb1ndex.test:%d", 400), (b"index\xe3\x80\x82test:%d", 400),
        (b"index%%2etest:%d", 400), (b"2130706433:%d", 400), (b"0x7f.0.0.1:%d", 400),
        (b"127.1:%d", 400), (b"0177.0.0.1:%d", 400), (b"[::1%%lo]:%d", 400),
        (b"index.test:0%d", 400), (b"index.test:+%d", 400), (b"index.test: %d", 400),
        (b"index.test", 400), (b":%d", 400), (b"*:%d", 400), (b"_.test:%d", 400),
    ],
)  # fmt: skip
async def test_no_spelling_of_a_destination_gets_past_the_list(
    sandbox, upstream, authority, status
):
    target = authority % upstream.port if b"%d" in authority else authority

    assert await sandbox.status(b"CONNECT " + target + b" HTTP/1.1\r\n\r\n") == status
    assert upstream.connections == 0
    assert [attempt.allowed for attempt in sandbox.audit.attempts] == [False]
    assert all(
        attempt.destination.isprintable() and attempt.rule for attempt in sandbox.audit.attempts
    )


async def test_what_is_denied_by_the_list_is_not_even_asked_of_the_resolver(sandbox, upstream):
    await sandbox.status(f"CONNECT secret-data.evil.test:{upstream.port} HTTP/1.1\r\n\r\n".encode())

    assert sandbox.asked == []


async def test_a_host_field_that_names_another_place_is_refused(sandbox, upstream):
    head = f"CONNECT index.test:{upstream.port} HTTP/1.1\r\nHost: evil.test\r\n\r\n".encode()

    assert await sandbox.status(head) == 400
    assert upstream.connections == 0


async def test_a_name_that_turns_inward_later_is_refused_and_the_resolved_address_is_dialled(
    sandbox, upstream
):
    sandbox.names["inner.test"] = ["151.101.0.223", "127.0.0.1"]
    assert (
        await sandbox.status(f"CONNECT inner.test:{upstream.port} HTTP/1.1\r\n\r\n".encode()) == 403
    )

    reader, writer = await sandbox.tunnel()
    assert sandbox.asked == ["inner.test", "index.test"]  # once each
    writer.close()
    assert reader is not None


async def test_a_destination_that_does_not_answer_is_a_bad_gateway(sandbox, upstream):
    await upstream.stop()

    assert (
        await sandbox.status(f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode()) == 502
    )


@pytest.mark.parametrize("asked_bytes", [b"GIVE 400000", b"x" * 150_000])
async def test_bytes_end_at_their_cap_in_either_direction(sandbox, upstream, asked_bytes):
    reader, writer = await sandbox.tunnel()
    writer.write(asked_bytes)

    received = 0
    with contextlib.suppress(OSError):
        while block := await reader.read(65536):
            received += len(block)

    assert received <= CAPS.tunnel_down_bytes
    assert len(upstream.heard) <= CAPS.tunnel_up_bytes
    writer.close()


async def test_a_silent_tunnel_and_a_dripping_one_both_end(sandbox, upstream):
    silent, writer = await sandbox.tunnel()
    dripping, dripper = await sandbox.tunnel()

    async def drip():
        with contextlib.suppress(OSError):
            while True:
                dripper.write(b".")
                await dripper.drain()
                await asyncio.sleep(0.2)

    drip_task = asyncio.create_task(drip())
    async with asyncio.timeout(5):
        for reader in (silent, dripping):
            with contextlib.suppress(OSError):
                await reader.read()
    drip_task.cancel()
    writer.close()
    dripper.close()


async def test_a_head_that_does_not_end_is_refused(sandbox):
    assert await sandbox.status(b"CONNECT index.test:443 HTTP/1.1\r\nX: y") == 400
    assert await sandbox.status(b"CONNECT index.test:443 HTTP/1.1\r\nX: " + b"y" * 100_000) == 400


async def test_connect_on_a_connection_that_spoke_http_before_leads_nowhere(sandbox, upstream):
    reader, writer = await asyncio.open_unix_connection(str(sandbox.place.http))
    connect = (
        f"CONNECT index.test:{upstream.port} HTTP/1.1\r\nHost: index.test:{upstream.port}\r\n\r\n"
    )
    writer.write(b"GET /capsule HTTP/1.1\r\nHost: d\r\n\r\n" + connect.encode())
    writer.write_eof()
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1  # the connection ended with its one answer
    assert upstream.connections == 0


async def test_an_absolute_url_is_not_proxied(sandbox, upstream):
    assert (
        await sandbox.status(
            f"GET http://index.test:{upstream.port}/ HTTP/1.1\r\nHost: index.test\r\n\r\n".encode()
        )
        >= 400
    )
    assert upstream.connections == 0


async def test_what_cannot_be_recorded_is_not_let_through(sandbox, upstream, monkeypatch):
    async def broken(*args, **kwargs):
        raise OSError("the database is gone")

    monkeypatch.setattr(sandbox.audit, "egress", broken)

    assert (
        await sandbox.status(f"CONNECT index.test:{upstream.port} HTTP/1.1\r\n\r\n".encode()) == 503
    )
    assert upstream.connections == 0


async def test_attempts_have_an_end_and_so_has_their_record(sandbox, upstream):
    for _ in range(CAPS.egress_attempts):
        await sandbox.status(b"CONNECT evil.test:1 HTTP/1.1\r\n\r\n")

    assert (
        await sandbox.status(f"CONNECT index.test:{upstream.port} HTTP/1.1\r\n\r\n".encode()) == 429
    )
    assert len(sandbox.audit.attempts) == CAPS.egress_attempts


async def test_a_closing_door_cuts_its_tunnels(sandbox):
    reader, _writer = await sandbox.tunnel()
    await sandbox.doors.close("vsc-1")

    async with asyncio.timeout(2):
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
    _writer.close()


async def test_connections_past_the_cap_are_turned_away_and_the_place_is_free_again(upstream):
    sandbox = Sandbox(upstream.port, dataclasses.replace(CAPS, connections=2, head_s=30))
    await sandbox.doors.open("vsc-1", sandbox.place, sandbox.access)
    held = [await asyncio.open_unix_connection(str(sandbox.place.egress)) for _ in range(2)]
    connect = f"CONNECT index.test:{upstream.port} HTTP/1.1\r\n\r\n".encode()

    assert await sandbox.status(connect) == 503
    for _, writer in held:
        writer.close()
    while await sandbox.status(connect) != 200:  # noqa: ASYNC110 -- the door tells nobody
        await asyncio.sleep(0.01)
    await sandbox.doors.close_all()


async def test_only_connect_is_answered_where_sandboxes_leave(sandbox, upstream):
    assert await sandbox.status(b"GET /capsule HTTP/1.1\r\nHost: d\r\n\r\n") == 400
    assert upstream.connections == 0


async def test_the_http_socket_of_a_stage_that_may_leave_lets_nobody_out(sandbox, upstream):
    reader, writer = await asyncio.open_unix_connection(str(sandbox.place.http))
    target = f"index.test:{upstream.port}"
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())

    assert (await reader.readline()).startswith(b"HTTP/1.1 403 ")
    writer.close()
    assert [attempt.allowed for attempt in sandbox.audit.attempts] == [False]
    assert upstream.connections == 0

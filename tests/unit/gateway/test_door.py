"""The HTTP verbs, over the real socket."""

import asyncio
import base64
import contextlib
import os
import stat
import tempfile
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from door_kit import MemoryAudit, MemoryChunks, MemoryOutputs

from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.door import SOCKET_NAME, Doors
from control_plane.gateway.ports import DoorAccess

CAPS = DoorCaps(connections=4, first_byte_s=1.0, head_s=0.3, body_idle_s=0.8, close_s=0.5)


class House:
    """Doors over sinks in memory, and one access to open them with."""

    def __init__(self):
        self.chunks, self.outputs, self.audit = MemoryChunks(), MemoryOutputs(), MemoryAudit()
        self.doors = Doors(self.chunks, self.outputs, self.audit, CAPS)
        self.access = DoorAccess(
            uuid4(),
            uuid4(),
            "head",
            b'{"run": "r"}',
            {"cov.json": 100},
            stream_caps={"stdout": 200_000, "tests": 10},
        )
        self.directory = Path(tempfile.mkdtemp(prefix="vsc-door-"))

    async def open(self, directory=None):
        await self.doors.open("vsc-1", directory or self.directory, self.access)


@pytest.fixture
async def house():
    house = House()
    await house.open()
    yield house
    await house.doors.close_all()


@pytest.fixture
async def client(house):
    transport = httpx.AsyncHTTPTransport(uds=str(house.directory / SOCKET_NAME))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        yield client


def chunk(seq, data=b"x", stream="stdout"):
    return {"stream": stream, "seq": seq, "data": base64.b64encode(data).decode()}


async def talk(house, data, *, finish=False):
    """Send raw bytes, and read until the door hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(house.directory / SOCKET_NAME))
    try:
        writer.write(data)
        if finish:
            writer.write_eof()
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_the_capsule_is_served_as_it_is(client):
    assert (await client.get("/capsule")).content == b'{"run": "r"}'


async def test_chunks_are_kept_in_order_and_a_resend_is_harmless(house, client):
    first = await client.post("/chunks", json={"chunks": [chunk(0, b"a"), chunk(1, b"b")]})
    again = await client.post("/chunks", json={"chunks": [chunk(1, b"b"), chunk(2, b"c")]})

    assert first.json() == {"next": {"stdout": 2, "tests": 0}}
    assert again.json() == {"next": {"stdout": 3, "tests": 0}}
    assert house.chunks.text(house.access.sandbox_id, "stdout") == b"abc"


async def test_a_gap_is_a_conflict_that_says_what_is_missing(house, client):
    answer = await client.post("/chunks", json={"chunks": [chunk(1)]})

    assert (answer.status_code, answer.json()["next"]) == (409, {"stdout": 0, "tests": 0})
    assert house.chunks.kept[house.access.sandbox_id] == []


async def test_the_same_chunks_sent_many_times_at_once_are_kept_once(house, client):
    body = {"chunks": [chunk(n, bytes([65 + n])) for n in range(5)]}

    answers = await asyncio.gather(*(client.post("/chunks", json=body) for _ in range(4)))

    assert {answer.status_code for answer in answers} == {200}
    assert house.chunks.text(house.access.sandbox_id, "stdout") == b"ABCDE"


async def test_a_stream_ends_at_its_cap_and_an_undeclared_one_never_starts(client):
    assert (
        await client.post("/chunks", json={"chunks": [chunk(0, b"0123456789", "tests")]})
    ).status_code == 200
    assert (
        await client.post("/chunks", json={"chunks": [chunk(1, b"!", "tests")]})
    ).status_code == 413
    assert (
        await client.post("/chunks", json={"chunks": [chunk(0, b"!", "stderr")]})
    ).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"chunks": 1}', b'{"chunks": [1]}', b'{"chunks": [], "x": 1}', b"\xff\xfe", b"[" * 100_000,
        b'{"chunks": [{"stream": "stdout", "seq": 0}]}', b'{"chunks": [{"stream": "stdin", "seq": 0, "data": "YQ=="}]}',
        b'{"chunks": [{"stream": "stdout", "seq": true, "data": "YQ=="}]}',
        b'{"chunks": [{"stream": "stdout", "seq": -1, "data": "YQ=="}]}',
        b'{"chunks": [{"stream": "stdout", "seq": 0.0, "data": "YQ=="}]}',
        b'{"chunks": [{"stream": ["stdout"], "seq": 0, "data": "YQ=="}]}',
        b'{"chunks": [{"stream": "stdout", "seq": 0, "data": "Y Q=="}]}',
        b'{"chunks": [{"stream": "stdout", "seq": 0, "data": ""}]}',
        b'{"chunks": [{"stream": "stdout", "seq": ' + b"9" * 5000 + b', "data": "YQ=="}]}',
        b'{"chunks": [{"stream": "stdout", "seq": 0, "data": "\\ud800"}]}',
    ],
)  # fmt: skip
async def test_a_body_that_makes_no_sense_is_a_bad_request(house, client, body):
    assert (await client.post("/chunks", content=body)).status_code == 400
    assert house.chunks.kept[house.access.sandbox_id] == []


async def test_chunks_and_bodies_have_a_size(client):
    assert (
        await client.post("/chunks", json={"chunks": [chunk(0, b"x" * (64 * 2**10 + 1))]})
    ).status_code == 400
    assert (
        await client.post("/chunks", json={"chunks": [chunk(0, b"x" * (64 * 2**10))]})
    ).status_code == 200


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_past_the_limit_is_refused_whether_it_says_so_or_not(house, announced):
    head = b"POST /chunks HTTP/1.1\r\nHost: door\r\n"
    if announced:
        answer = await talk(house, head + b"Content-Length: 2000000\r\n\r\n")
    else:
        block = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        answer = await talk(house, head + b"Transfer-Encoding: chunked\r\n\r\n" + block * 17)

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_an_output_is_kept_whole_or_not_at_all(house, client):
    kept = await client.put("/outputs/cov.json", content=b"y" * 100)
    too_large = await client.put("/outputs/cov.json", content=b"y" * 101)

    assert kept.json()["size_bytes"] == 100
    assert too_large.status_code == 413
    assert house.outputs.kept == {(house.access.sandbox_id, "cov.json"): b"y" * 100}


async def test_an_output_past_its_limit_is_refused_while_it_streams(house, client):
    async def endless():
        for _ in range(100):
            yield b"y" * 50

    assert (await client.put("/outputs/cov.json", content=endless())).status_code == 413
    assert house.outputs.kept == {}


@pytest.mark.parametrize("name", ["other.json", "..%2Fcov.json", "cov.json%00", ".", "cov.json%2F"])
async def test_an_undeclared_output_is_not_found(house, name):
    answer = await talk(
        house, f"PUT /outputs/{name} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".encode()
    )

    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 307 "))
    assert house.outputs.kept == {}


async def test_other_paths_and_methods_lead_nowhere(client):
    assert (await client.get("/v1/tasks")).status_code == 404
    assert (await client.get("/openapi.json")).status_code == 404
    assert (await client.delete("/capsule")).status_code == 405


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\r\n\r\nX",
        b"GET /capsule HTTP/1.1\r\n\r\n", b"GET /capsule HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /chunks HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /chunks HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n",
        b"GET /capsule HTTP/1.1\r\nHost: d\r\nA b: c\r\n\r\n",
    ],
)  # fmt: skip
async def test_malformed_http_is_a_bad_request(house, data):
    assert (await talk(house, data, finish=True)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"CONN",
        b"GET /caps",
        b"POST /chunks HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\nab",
    ],
)
async def test_patience_ends(house, data):
    async with asyncio.timeout(3):
        assert b" 200 " not in await talk(house, data)


async def test_a_head_that_drips_is_cut_at_its_deadline_however_steadily_it_drips(house):
    reader, writer = await asyncio.open_unix_connection(str(house.directory / SOCKET_NAME))
    began = asyncio.get_running_loop().time()
    with contextlib.suppress(OSError):  # broken pipe or reset, as the kernel has it
        for byte in b"GET /" + b"a" * 200:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    assert asyncio.get_running_loop().time() - began < 1.5
    assert reader.at_eof() or reader.exception() is not None


async def test_connections_past_the_cap_are_turned_away_and_the_place_is_free_again(house):
    path = str(house.directory / SOCKET_NAME)
    held = [await asyncio.open_unix_connection(path) for _ in range(CAPS.connections)]
    await asyncio.sleep(0.05)
    turned_away = await talk(house, b"")
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.05)

    assert turned_away.startswith(b"HTTP/1.1 503 ")
    assert b'{"run": "r"}' in await talk(
        house, b"GET /capsule HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
    )


async def test_an_open_door_that_is_opened_again_goes_on_where_the_log_stands(house, client):
    await client.post("/chunks", json={"chunks": [chunk(0, b"a")]})
    await house.open()

    answer = await client.post("/chunks", json={"chunks": [chunk(0, b"a"), chunk(1, b"b")]})

    assert answer.json() == {"next": {"stdout": 2, "tests": 0}}
    assert house.chunks.text(house.access.sandbox_id, "stdout") == b"ab"


async def test_a_socket_that_a_dead_control_plane_left_is_replaced(house):
    left_behind = House()
    left_behind.directory = house.directory
    await left_behind.open()  # as after a crash: the file is there and nobody took it away

    assert b'{"run": "r"}' in await talk(
        left_behind, b"GET /capsule HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
    )
    await house.doors.close_all()  # and the old owner, should it live, removes its own socket only
    assert (house.directory / SOCKET_NAME).is_socket()
    await left_behind.doors.close_all()


async def test_a_closed_door_is_gone_and_closing_twice_is_harmless(house):
    await house.doors.close("vsc-1")
    await house.doors.close("vsc-1")

    assert not (house.directory / SOCKET_NAME).exists()


async def test_an_answer_under_way_is_given_before_the_door_closes(house, client):
    release = asyncio.Event()

    async def slow(sandbox_id, chunks, keep=house.chunks.append):
        await release.wait()
        await keep(sandbox_id, chunks)

    house.chunks.append = slow
    answer = asyncio.create_task(client.post("/chunks", json={"chunks": [chunk(0)]}))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(house.doors.close("vsc-1"))
    await asyncio.sleep(0.05)
    release.set()

    assert (await answer).status_code == 200
    await closing


async def test_chunks_that_could_not_be_kept_are_not_acknowledged(house, client, caplog):
    async def broken(sandbox_id, chunks):
        raise OSError("disk full")

    kept, house.chunks.append = house.chunks.append, broken
    refused = await client.post("/chunks", json={"chunks": [chunk(0)]})
    house.chunks.append = kept

    assert refused.status_code == 503
    assert (await client.post("/chunks", json={"chunks": [chunk(0)]})).json() == {
        "next": {"stdout": 1, "tests": 0}
    }


async def test_the_socket_is_open_to_the_sandbox_and_its_directory_is_not(house):
    assert stat.S_IMODE((house.directory / SOCKET_NAME).stat().st_mode) == 0o666
    assert stat.S_IMODE(house.directory.stat().st_mode) == 0o755


async def test_a_path_longer_than_a_socket_address_works(house, tmp_path):
    long = tmp_path / ("d" * 200)
    long.mkdir()
    await house.open(long)

    assert (long / SOCKET_NAME).is_socket()


async def test_a_directory_that_is_not_ours_alone_is_refused(house, tmp_path):
    (tmp_path / "link").symlink_to(house.directory)
    with pytest.raises(OSError, match="link"):
        await house.open(tmp_path / "link")
    (tmp_path / SOCKET_NAME).write_text("a file")
    with pytest.raises(ValueError, match="not a socket"):
        await house.open(tmp_path)
    if os.geteuid() == 0:
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", 65534, 65534)
        with pytest.raises(ValueError, match="uid 65534"):
            await house.open(tmp_path / "theirs")


def test_only_prepare_has_egress():
    with pytest.raises(ValueError, match="only prepare"):
        DoorAccess(uuid4(), uuid4(), "execute", b"", egress=("pypi.org:443",))

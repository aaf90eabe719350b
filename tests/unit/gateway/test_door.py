"""The HTTP verbs, over the real socket."""

import asyncio
import base64
import contextlib
import os
import socket

import httpx
import pytest
from door_kit import MemoryAudit, MemoryCapsules, MemoryChunks, access, directory

from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.door import Doors
from control_plane.gateway.egress import Malformed
from control_plane.gateway.sockets import NoDirectory, Served
from sandboxes.doors import HTTP_SOCKET, DoorDirectory

CAPS = DoorCaps(connections=4, first_byte_s=1.0, head_s=0.3, body_idle_s=0.8, close_s=1)
GET = b"GET /capsule HTTP/1.1\r\nHost: d\r\n\r\n"


class House:
    """Doors over sinks in memory, and one access to open them with."""

    def __init__(self, chunks=None, place=None):
        self.chunks, self.audit = chunks or MemoryChunks(), MemoryAudit()
        self.doors = Doors(self.chunks, MemoryCapsules(capsule=b'{"run": "r"}'), self.audit, CAPS)
        self.access = access(stream_bytes={"stdout": 200_000, "tests": 10})
        self.place = place or directory()

    async def open(self, place=None):
        await self.doors.open("vsc-1", place or self.place, self.access)


@pytest.fixture
async def house():
    house = House()
    await house.open()
    yield house
    await house.doors.close_all()


@pytest.fixture
async def client(house):
    transport = httpx.AsyncHTTPTransport(uds=str(house.place.http))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        yield client


def chunk(seq, data=b"x", stream="stdout"):
    return {"stream": stream, "seq": seq, "data": base64.b64encode(data).decode()}


async def talk(house, data, *, finish=False):
    """Send raw bytes, and read until the door hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(house.place.http))
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
        b"", b"[]", b"{}", b'{"chunks": 1}', b'{"chunks": [1]}', b'{"chunks": [], "x": 1}',
        b"\xff\xfe", b"[" * 100_000, b'{"chunks": [{"stream": "stdout", "seq": 0}]}',
        b'{"chunks": [{"stream": "stdin", "seq": 0, "data": "YQ=="}]}',
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


async def test_nothing_is_kept_of_a_body_but_chunks(client):
    """D7: outputs are the provider's to take. Nobody used the verb, and each body was a blob."""
    answers = [
        await client.put(path, content=b"y" * 100) for path in ("/outputs/cov.json", "/blobs")
    ]

    assert [answer.status_code for answer in answers] == [404, 404]


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
    reader, writer = await asyncio.open_unix_connection(str(house.place.http))
    began = asyncio.get_running_loop().time()
    with contextlib.suppress(OSError):  # broken pipe or reset, as the kernel has it
        for byte in b"GET /" + b"a" * 200:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    assert asyncio.get_running_loop().time() - began < 1.5
    assert reader.at_eof() or reader.exception() is not None


async def test_connections_past_the_cap_are_turned_away_and_the_place_is_free_again(house):
    path = str(house.place.http)
    held = [await asyncio.open_unix_connection(path) for _ in range(CAPS.connections)]
    await asyncio.sleep(0.05)
    turned_away = await talk(house, b"")
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.05)

    assert turned_away.startswith(b"HTTP/1.1 503 ")
    assert b'{"run": "r"}' in await talk(house, GET)


async def test_a_door_that_is_opened_again_goes_on_where_the_log_stands(house, client):
    await client.post("/chunks", json={"chunks": [chunk(0, b"a")]})
    await house.doors.close("vsc-1")
    await house.open()

    answer = await client.post("/chunks", json={"chunks": [chunk(0, b"a"), chunk(1, b"b")]})

    assert answer.json() == {"next": {"stdout": 2, "tests": 0}}
    assert house.chunks.text(house.access.sandbox_id, "stdout") == b"ab"


async def test_opening_an_open_door_disturbs_nobody(house, client):
    """D11: the holder of a run may change; the door is its sandbox's."""
    inode = house.place.http.stat().st_ino
    await house.open()

    assert house.place.http.stat().st_ino == inode
    assert (await client.get("/capsule")).status_code == 200


async def test_a_second_gateway_leaves_an_open_door_alone_and_has_it_when_the_first_is_gone(house):
    second = House(house.chunks, house.place)
    with pytest.raises(Served):
        await second.open()
    assert b'{"run": "r"}' in await talk(house, GET)

    await house.doors.close_all()
    await second.open()

    assert b'{"run": "r"}' in await talk(second, GET)
    await second.doors.close_all()


async def test_a_socket_that_a_dead_gateway_left_is_replaced():
    here = House()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(here.place.http))
    await here.open()

    assert b'{"run": "r"}' in await talk(here, GET)
    await here.doors.close_all()
    assert list(here.place.path.iterdir()) == []


async def test_what_another_has_put_in_our_sockets_place_is_not_ours_to_remove(house):
    house.place.http.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(house.place.http))
    await house.doors.close_all()

    assert house.place.http.is_socket()


async def test_a_closed_door_is_gone_and_closing_twice_is_harmless(house):
    await house.doors.close("vsc-1")
    await house.doors.close("vsc-1")

    assert list(house.place.path.iterdir()) == []


async def test_an_answer_under_way_is_given_before_the_door_closes(house, client):
    release = asyncio.Event()

    async def slow(sandbox_id, rows, keep=house.chunks.keep):
        await release.wait()
        await keep(sandbox_id, rows)

    house.chunks.keep = slow
    answer = asyncio.create_task(client.post("/chunks", json={"chunks": [chunk(0)]}))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(house.doors.close("vsc-1"))
    await asyncio.sleep(0.05)
    release.set()

    assert (await answer).status_code == 200
    await closing


async def test_chunks_that_could_not_be_kept_are_not_acknowledged(house, client, caplog):
    async def broken(sandbox_id, rows):
        raise OSError("disk full")

    kept, house.chunks.keep = house.chunks.keep, broken
    refused = await client.post("/chunks", json={"chunks": [chunk(0)]})
    house.chunks.keep = kept

    assert refused.status_code == 503
    assert (await client.post("/chunks", json={"chunks": [chunk(0)]})).json() == {
        "next": {"stdout": 1, "tests": 0}
    }


async def test_a_path_longer_than_a_socket_address_works(house, tmp_path):
    long = DoorDirectory(tmp_path / ("d" * 200) / "door")
    long.make()
    await house.doors.open("vsc-2", long, house.access)

    assert long.http.is_socket()


async def test_a_directory_that_is_not_there_is_not_made(house, tmp_path):
    for path in (tmp_path / "door", tmp_path / "gone" / "door"):
        with pytest.raises(NoDirectory):
            await house.doors.open("vsc-2", DoorDirectory(path), house.access)

    assert list(tmp_path.iterdir()) == []
    assert house.doors.names() == {"vsc-1"}


async def test_a_directory_that_is_not_ours_alone_is_refused(house, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(house.place.path)
    with pytest.raises(OSError, match="link"):
        await house.doors.open("vsc-2", DoorDirectory(tmp_path / "a" / "link"), house.access)
    (tmp_path / "a" / "full").mkdir()
    (tmp_path / "a" / "full" / HTTP_SOCKET).write_text("a file")
    with pytest.raises(ValueError, match="not a socket"):
        await house.doors.open("vsc-2", DoorDirectory(tmp_path / "a" / "full"), house.access)
    if os.geteuid() == 0:
        (tmp_path / "a" / "theirs").mkdir()
        os.chown(tmp_path / "a" / "theirs", 65534, 65534)
        with pytest.raises(ValueError, match="uid 65534"):
            await house.doors.open("vsc-2", DoorDirectory(tmp_path / "a" / "theirs"), house.access)


async def test_a_bad_entry_of_an_allowlist_opens_nothing(house):
    place = directory()
    with pytest.raises(Malformed):
        await house.doors.open("vsc-2", place, access("prepare", egress=("anywhere",)))

    assert list(place.path.iterdir()) == []


async def test_the_socket_for_leaving_is_there_only_where_the_stage_may_leave(house):
    place = directory()
    await house.doors.open("vsc-2", place, access("prepare"))

    assert sorted(path.name for path in place.path.iterdir()) == ["door.sock", "egress.sock"]
    assert [path.name for path in house.place.path.iterdir()] == ["door.sock"]
    await house.doors.close_all()
    assert list(place.path.iterdir()) == []


async def test_a_connect_where_nobody_may_leave_is_refused_and_on_record(house):
    answer = await talk(house, b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 403 ")
    [attempt] = house.audit.attempts
    assert (attempt.destination, attempt.allowed) == ("pypi.org:443", False)


async def test_a_stage_that_nobody_named_is_refused_everything(house):
    place = directory()
    await house.doors.open("vsc-2", place, access(verbs=frozenset()))
    transport = httpx.AsyncHTTPTransport(uds=str(place.http))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        assert (await client.get("/capsule")).status_code == 403
        assert (await client.post("/chunks", json={"chunks": [chunk(0)]})).status_code == 403


async def test_each_answer_ends_its_connection(house):
    assert (await talk(house, GET + GET)).count(b"HTTP/1.1 ") == 1

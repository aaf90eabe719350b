"""D13: what a flood through one door costs us: requests that reach the database, and rows."""

import asyncio
import base64
import json

import httpx
from door_kit import MemoryAudit, MemoryCapsules, MemoryChunks, access, directory

from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.door import Doors
from control_plane.gateway.verbs import DoorApplication, Verbs
from runners.protocol import MAX_CHUNK_BYTES
from runners.uplink import gather_s


class StoppedClock:
    """Time that passes only when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Flooded:
    """A door's application under a clock of ours, and a sandbox that sends what it likes."""

    def __init__(self, caps):
        self.clock, self.chunks, self.access = StoppedClock(), MemoryChunks(), access()
        verbs = Verbs(self.access, caps, self.chunks, MemoryCapsules(), MemoryAudit(), self.clock)
        transport = httpx.ASGITransport(DoorApplication(verbs))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://door")

    async def post(self, first, count=1, data=b"x", stream="stdout"):
        text = base64.b64encode(data).decode()
        chunks = [{"stream": stream, "seq": first + n, "data": text} for n in range(count)]
        return (
            await self.client.post("/chunks", content=json.dumps({"chunks": chunks}))
        ).status_code


async def test_a_flood_ends_at_the_door_and_does_not_reach_the_database():
    flooded = Flooded(DoorCaps(requests_at_once=50, requests_per_s=10))

    statuses = [await flooded.post(n) for n in range(500)]

    assert statuses == [200] * 50 + [429] * 450
    assert flooded.chunks.asked == 50
    flooded.clock.now += 2.0  # and who comes back later is served, from where the log stands
    assert [await flooded.post(50 + n) for n in range(30)] == [200] * 20 + [429] * 10


async def test_rows_are_as_many_as_requests_and_never_more_than_the_cap():
    flooded = Flooded(DoorCaps(requests_at_once=10_000, stream_rows=20))

    statuses = [await flooded.post(min(n, 20) * 60, count=60) for n in range(40)]

    assert statuses == [200] * 20 + [413] * 20
    assert len(flooded.chunks.kept[flooded.access.sandbox_id]) == 20
    assert await flooded.post(0, stream="tests") == 200  # the other streams go on


async def test_a_request_holds_a_bounded_number_of_chunks():
    flooded = Flooded(DoorCaps())

    assert await flooded.post(0, count=64) == 200
    assert await flooded.post(64, count=65) == 400
    assert flooded.chunks.asked == 1


async def test_requests_of_one_door_reach_the_database_one_at_a_time():
    doors = Doors(chunks := Held(), MemoryCapsules(), MemoryAudit())
    await doors.open("vsc-1", place := directory(), access())
    transport = httpx.AsyncHTTPTransport(uds=str(place.http))
    body = {"chunks": [{"stream": "stdout", "seq": 0, "data": "eA=="}]}
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        answers = await asyncio.gather(*(client.post("/chunks", json=body) for _ in range(20)))
    await doors.close_all()

    assert {answer.status_code for answer in answers} == {200}
    assert chunks.most_at_once == 1


class Held(MemoryChunks):
    """A database that says how many requests it had at once."""

    now = most_at_once = 0

    async def append(self, sandbox_id, chunks, caps):
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return await super().append(sandbox_id, chunks, caps)


def test_the_pace_of_an_honest_runner_fits_under_the_caps():
    caps, sent, clock_s = DoorCaps(), 0, 0.0
    while sent < caps.stream_rows:
        clock_s += gather_s(sent)
        sent += 1

    assert clock_s > 10 * 3600  # a log that drips without a pause is whole for ten hours
    assert 1 / gather_s(0) < caps.requests_per_s
    assert caps.request_bytes > 10 * MAX_CHUNK_BYTES * 4 / 3

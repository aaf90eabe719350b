"""The uplink against the control plane's own door, also over its restart."""

import asyncio
import time

from door_kit import MemoryAudit, MemoryCapsules, MemoryChunks, access, directory

from control_plane.gateway.door import Doors
from runners.uplink import Uplink

DATA = bytes(range(256)) * 4000


async def test_the_real_door_has_everything_once_also_over_a_restart():
    place, chunks = directory(), MemoryChunks()
    mine = access(stream_bytes={"stdout": 2 * len(DATA), "tests": 10})

    async def opened():
        doors = Doors(chunks, MemoryCapsules(), MemoryAudit())
        await doors.open("vsc-1", place, mine)
        return doors

    doors = await opened()
    uplink = Uplink(place.http)
    uplink.start()
    uplink.offer("stdout", DATA)
    while not chunks.text(mine.sandbox_id, "stdout"):  # noqa: ASYNC110 -- the sink tells nobody
        await asyncio.sleep(0.01)
    await doors.close_all()
    uplink.offer("stdout", DATA)
    uplink.offer("tests", b"more than ten bytes")
    await asyncio.sleep(0.2)
    doors = await opened()

    unsent = await asyncio.to_thread(uplink.close, time.monotonic() + 20)

    assert chunks.text(mine.sandbox_id, "stdout") == DATA * 2
    assert unsent == {"tests": b"more than ten bytes"}  # a full stream stops no other
    assert "413" in uplink.trouble or "no more" in uplink.trouble
    await doors.close_all()

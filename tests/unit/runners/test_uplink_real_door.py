"""The uplink against the control plane's own door, also over its restart."""

import asyncio
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from door_kit import MemoryAudit, MemoryChunks, MemoryOutputs

from control_plane.gateway.door import SOCKET_NAME, Doors
from control_plane.gateway.ports import DoorAccess
from runners.uplink import Uplink

DATA = bytes(range(256)) * 4000


async def test_the_real_door_has_everything_once_also_over_a_restart():
    directory = Path(tempfile.mkdtemp(prefix="vsc-door-"))
    chunks = MemoryChunks()
    access = DoorAccess(
        uuid4(), uuid4(), "head", b"{}", {}, stream_caps={"stdout": 2 * len(DATA), "tests": 10}
    )

    async def opened():
        doors = Doors(chunks, MemoryOutputs(), MemoryAudit())
        await doors.open("vsc-1", directory, access)
        return doors

    doors = await opened()
    uplink = Uplink(directory / SOCKET_NAME)
    uplink.start()
    uplink.offer("stdout", DATA)
    while not chunks.text(access.sandbox_id, "stdout"):  # noqa: ASYNC110 -- the sink tells nobody
        await asyncio.sleep(0.01)
    await doors.close_all()
    uplink.offer("stdout", DATA)
    uplink.offer("tests", b"more than ten bytes")
    await asyncio.sleep(0.2)
    doors = await opened()

    unsent = await asyncio.to_thread(uplink.close, time.monotonic() + 20)

    assert chunks.text(access.sandbox_id, "stdout") == DATA * 2
    assert unsent == {"tests": b"more than ten bytes"}  # a full stream stops no other
    assert "413" in uplink.trouble or "no more" in uplink.trouble
    await doors.close_all()

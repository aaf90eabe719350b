"""The gateway's root: the doors of the sandboxes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from control_plane.gateway.door import Doors
from control_plane.gateway.keeper import DoorKeeper
from control_plane.gateway.sinks import AuditLog, PostgresChunks
from control_plane.gateway.submissions import PostgresSubmissions
from control_plane.processes.ground import Ground
from sandboxes.doors import DoorDirectory

Where = Callable[[str], DoorDirectory]
"""A sandbox's name -> its door: `SandboxProvider.door`, or its like without an engine."""


@asynccontextmanager
async def open_gateway(ground: Ground, site: str, where: Where) -> AsyncIterator[DoorKeeper]:
    """Doors that follow the rows until the body ends.

    Sandboxes that live on find new ones later.
    """
    doors = Doors(
        PostgresChunks(ground.sessions),
        ground.blobs,
        AuditLog(ground.sessions),
        submissions=PostgresSubmissions(ground.sessions, ground.blobs),
    )
    keeper = DoorKeeper(sessions=ground.sessions, doors=doors, where=where, install=site)
    with ground.wake.poking(keeper.poke):
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(keeper.serve(), name="doors")
            try:
                yield keeper
            finally:
                loop.cancel()

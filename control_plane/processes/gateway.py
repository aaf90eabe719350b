"""The gateway's root: the doors of the sandboxes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from control_plane.gateway.door import Doors
from control_plane.gateway.keeper import DoorKeeper
from control_plane.gateway.sinks import AuditLog, PostgresChunks
from control_plane.processes.ground import Ground
from control_plane.processes.listening import listen
from sandboxes.doors import DoorDirectory

Where = Callable[[str], DoorDirectory]
"""A sandbox's name -> its door: `SandboxProvider.door`, or its like without an engine."""


@asynccontextmanager
async def open_gateway(ground: Ground, site: str, where: Where) -> AsyncIterator[DoorKeeper]:
    """Doors that follow the rows until the body ends.

    Sandboxes that live on find new ones later.
    """
    doors = Doors(PostgresChunks(ground.sessions), ground.blobs, AuditLog(ground.sessions))
    keeper = DoorKeeper(sessions=ground.sessions, doors=doors, where=where, install=site)
    async with asyncio.TaskGroup() as group:
        loops = [
            group.create_task(keeper.serve(), name="doors"),
            group.create_task(listen(ground.url, keeper.poke), name="door listener"),
        ]
        try:
            yield keeper
        finally:
            for loop in loops:
                loop.cancel()

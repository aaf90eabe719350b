"""The gateway's root: the doors of the sandboxes, beside an orchestrator or alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.gateway.door import Doors
from control_plane.gateway.keeper import DoorKeeper, Marks
from control_plane.gateway.sinks import AuditLog, PostgresChunks
from control_plane.gateway.submissions import PostgresSubmissions
from control_plane.processes.ground import Ground
from control_plane.settings import DoorSettings, GroundSettings
from control_plane.sites import service as sites
from control_plane.sites.models import Site
from sandboxes.docker import records
from sandboxes.doors import DoorDirectory
from sandboxes.memory.places import place

Where = Callable[[str], DoorDirectory]
"""A sandbox's name -> its door: `SandboxProvider.door`, or its like without an engine."""


@asynccontextmanager
async def open_gateway(
    ground: Ground[GroundSettings], marks: Marks, where: Where
) -> AsyncIterator[DoorKeeper]:
    """Doors that follow the rows until the body ends.

    Sandboxes that live on find new ones later.
    """
    doors = Doors(
        PostgresChunks(ground.sessions),
        ground.blobs,
        AuditLog(ground.sessions),
        submissions=PostgresSubmissions(ground.sessions, ground.blobs),
    )
    keeper = DoorKeeper(sessions=ground.sessions, doors=doors, where=where, marks=marks)
    with ground.wake.poking(keeper.poke):
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(keeper.serve(), name="doors")
            try:
                yield keeper
            finally:
                loop.cancel()


def marks_of(site: Site) -> Marks:
    """One site, that this process has joined."""

    async def marks(_: AsyncSession) -> Collection[str]:
        return (site.name,)

    return marks


def marks_of_home(ground: Ground[DoorSettings]) -> Marks:
    """Every site over this home with such an engine, also one that comes later."""

    async def marks(session: AsyncSession) -> Collection[str]:
        found = await sites.of_home(session, str(ground.home), ground.settings.engine)
        return [site.name for site in found]

    return marks


def doors_of_home(ground: Ground[DoorSettings]) -> Where:
    """Where the sandboxes of this home have their doors. No engine is asked."""
    kind, _, home = ground.settings.engine.partition(":")
    if kind == "memory":
        return lambda name: place(Path(home), name).door
    return lambda name: records.door_of(ground.home / "docker", name, ground.settings.sandbox_uid)

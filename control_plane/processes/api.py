"""The API's root: its services and its application. It drives nothing."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import text

from control_plane.processes.ground import Ground, open_ground
from control_plane.services import Probe, Services, nobody_waits
from control_plane.settings import Settings
from quality_gates.render import markdown


@asynccontextmanager
async def open_reading(settings: Settings) -> AsyncIterator[Services]:
    """What is kept under `settings.home`, to be read: no engine is asked, no run is driven.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database.
    """
    async with open_ground(settings) as ground:
        yield services_of(ground)


def services_of(
    ground: Ground,
    *,
    poke: Callable[[], None] = nobody_waits,
    site_id: UUID | None = None,
    probes: Mapping[str, Probe] | None = None,
) -> Services:
    """What the application is built over; `probes` are those of other roots in this process."""

    async def database() -> str:
        async with ground.sessions() as session:
            return str(await session.scalar(text("SHOW server_version")))

    return Services(
        sessions=ground.sessions,
        mirrors=ground.mirrors,
        blobs=ground.blobs,
        markdown=markdown.render,
        probes={"database": database, **(probes or {})},
        wake=ground.wake,
        poke=poke,
        site_id=site_id,
    )

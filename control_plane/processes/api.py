"""The API's root: its services and its application. It drives nothing and asks no engine."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import text

from control_plane.processes.ground import Ground, open_ground
from control_plane.services import Probe, Services, nobody_waits
from control_plane.settings import ApiSettings, GroundSettings
from control_plane.sites import service as sites
from quality_gates.render import github, gitlab, junit, markdown, sarif
from sandboxes.errors import BlobMissing, DepotUnavailable

_NO_BLOB = "0" * 64


@asynccontextmanager
async def open_reading(settings: GroundSettings) -> AsyncIterator[Services]:
    """What is kept under `settings.home`, to be read: no engine is asked, no run is driven.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database.
    """
    async with open_ground(settings) as ground:
        yield services_of(ground)


@asynccontextmanager
async def open_api(settings: ApiSettings) -> AsyncIterator[Services]:
    """The API alone: what is submitted here is for any orchestrator over the same database.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database.
        BlobsElsewhere: this home has another blob store than the database's other homes.
    """
    async with open_ground(settings) as ground:
        await compared(ground)
        yield services_of(ground, probes={"mirrors": mirrors_probe(ground)})


def services_of(
    ground: Ground[GroundSettings],
    *,
    poke: Callable[[], None] = nobody_waits,
    probes: Mapping[str, Probe] | None = None,
) -> Services:
    """What the application is built over; `probes` are those of other roots in this process."""

    async def database() -> str:
        async with ground.sessions() as session:
            return str(await session.scalar(text("SHOW server_version")))

    async def blobs() -> str:
        with contextlib.suppress(BlobMissing):  # an answer is all that is asked for
            await ground.blobs.stat(_NO_BLOB)
        await sites.same_blobs(ground.sessions, ground.blobs)  # a site may have come since we did
        return ground.settings.blobs or "in this home"

    return Services(
        sessions=ground.sessions,
        mirrors=ground.mirrors,
        snapshots=ground.snapshots,
        blobs=ground.blobs,
        pages={
            "md": markdown.render,
            "github": github.render,
            "gitlab": gitlab.render,
            "sarif": sarif.render,
            "junit": junit.render,
        },
        probes={"database": database, "blobs": blobs, **(probes or {})},
        wake=ground.wake,
        poke=poke,
    )


async def compared(ground: Ground[GroundSettings]) -> None:
    """Refuse a store that is not that of the sites at work; one that is silent is not judged.

    Raises BlobsElsewhere.
    """
    with contextlib.suppress(DepotUnavailable):
        await sites.same_blobs(ground.sessions, ground.blobs)


def mirrors_probe(ground: Ground[ApiSettings]) -> Probe:
    """Whether repositories can be imported, and revisions be asked for."""
    root = ground.home / "mirrors"

    async def probe() -> str:
        if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(
                f"{root} must be readable and writable for the user of this process: give it back"
                " to the user of the orchestrator, and run both as that one"
            )
        return "in this home"

    return probe

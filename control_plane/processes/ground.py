"""What every process stands on: the settings, the database as it has to be, and the bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.opening import open_store
from control_plane.blobs.ports import Blobs, BlobStore
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.embedded import embedded
from control_plane.db.engine import Sessions, new_engine, session_factory
from control_plane.db.migrate import migrate, refuse_home_of_0_1_0
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.settings import GroundSettings
from control_plane.wake import WakeHub

S = TypeVar("S", bound=GroundSettings)
S_co = TypeVar("S_co", bound=GroundSettings, covariant=True)


@dataclass(frozen=True, slots=True)
class Ground(Generic[S_co]):
    """Passed to every root; a root says which settings it needs."""

    settings: S_co
    home: Path
    url: str
    """The database's address, with its password."""
    sessions: Sessions
    blobs: Blobs
    store: BlobStore
    """The same blobs for threads of providers; everybody else asks `blobs`."""
    depot: LocalDepot
    """Where sandboxes get bytes and leave them."""
    mirrors: Mirrors
    snapshots: Snapshots
    wake: WakeHub


@asynccontextmanager
async def open_ground(settings: S) -> AsyncIterator[Ground[S]]:
    """The ground over `settings.home`, its database migrated.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database, or one of 0.1.0.
    """
    home = settings.home.absolute()
    await asyncio.to_thread(refuse_home_of_0_1_0, home)
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    async with _database(settings, home) as url:
        await migrate(url)
        store = await asyncio.to_thread(open_store, settings)
        blobs = ThreadedBlobs(store)
        engine = new_engine(url, pool_size=settings.connections)
        sessions, depot = session_factory(engine), LocalDepot(store)
        mirrors, wake = Mirrors(home / "mirrors"), WakeHub()
        listening = asyncio.create_task(wake.serve(url), name="wake")
        try:
            yield Ground(
                settings=settings,
                home=home,
                url=url,
                sessions=sessions,
                blobs=blobs,
                store=store,
                depot=depot,
                mirrors=mirrors,
                snapshots=Snapshots(sessions, mirrors, depot, home / "snapshots"),
                wake=wake,
            )
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            await engine.dispose()
            blobs.close()


@asynccontextmanager
async def _database(settings: GroundSettings, home: Path) -> AsyncIterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with embedded(home) as url:
        yield url

"""The engine that `VSC_ENGINE` names, as the orchestrator uses it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.processes.ground import Ground
from control_plane.services import Probe
from control_plane.settings import EngineSettings
from control_plane.sites import service as sites
from control_plane.sites.models import Site
from runners import dehydrate
from runners.hydrate import apply_delta
from runners.tree_rules import PatchLimits
from runners.unpack import unpack
from sandboxes.docker import local
from sandboxes.docker.provider import DockerProvider
from sandboxes.memory import server as memory
from sandboxes.memory.provider import MemoryProvider
from sandboxes.ports import SandboxProvider, Start
from sandboxes.spec import Against
from sandboxes.tree_cache import TreeCache


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the sandboxes of this process run."""

    provider: SandboxProvider
    site: Site
    """This engine and this home; its name is in the names of its sandboxes."""
    image: str
    """The identity of the runner image for Python."""
    probe: Probe


OpenEngine = Callable[[Ground[EngineSettings]], AbstractAsyncContextManager[Engine]]
"""Opens the engine over a ground.

Raises:
    ProviderUnavailable, ImageMissing: no engine, or no runner image (`make images`).
"""


def open_engine(ground: Ground[EngineSettings]) -> AbstractAsyncContextManager[Engine]:
    """The engine that the settings name; `OpenEngine` says the rest."""
    kind, _, _ = ground.settings.engine.partition(":")
    return ENGINES[kind](ground)


@asynccontextmanager
async def docker_engine(ground: Ground[EngineSettings]) -> AsyncIterator[Engine]:
    """The Docker engine of this machine."""
    image = await asyncio.to_thread(lambda: ground.settings.image_python or local.image("python"))
    site = await joined(ground, f"docker:{await asyncio.to_thread(local.engine_id)}")
    provider = await asyncio.to_thread(_docker_provider, ground, site.name)

    async def probe() -> str:
        return f"image {await asyncio.to_thread(local.image, 'python')}"

    try:
        yield Engine(provider, site, image, probe)
    finally:
        await asyncio.to_thread(provider.close)


@asynccontextmanager
async def memory_engine(ground: Ground[EngineSettings]) -> AsyncIterator[Engine]:
    """The in-memory engine of the home that the settings name: no isolation."""
    home = Path(ground.settings.engine.partition(":")[2])
    image = await asyncio.to_thread(memory.image, home, "python")
    site = await joined(ground, f"memory:{home}")
    provider = MemoryProvider(
        install=site.name,
        home=home,
        depot=ground.depot,
        collect=collector_of(ground),
        apply_delta=apply_delta,
        trees=TreeCache(home / "trees", ground.depot, unpack, ground.settings.tree_cache_bytes),
    )

    async def probe() -> str:
        return f"in memory, image {await asyncio.to_thread(memory.image, home, 'python')}"

    try:
        yield Engine(provider, site, image, probe)
    finally:
        await asyncio.to_thread(provider.close)


ENGINES: Mapping[str, OpenEngine] = {"docker": docker_engine, "memory": memory_engine}
"""The word before the colon of `VSC_ENGINE` -> how such an engine is opened."""


async def joined(ground: Ground[EngineSettings], engine: str) -> Site:
    """The site of this engine and this home, with a lease of its own.

    Raises BlobsElsewhere, StoreTaken.
    """
    await sites.share_blobs(ground.sessions, ground.blobs, str(ground.home), engine)
    async with ground.sessions.begin() as session:
        return await sites.join(session, engine, str(ground.home), ground.settings.site_lease_s)


@dataclass(frozen=True, slots=True)
class Collector:
    """`sandboxes.ports.Collect`: the trusted patch. It needs no mirror and no database."""

    limits: PatchLimits

    def __call__(
        self, start: Start, tree: Path, changed: Collection[bytes] | None, into: Path
    ) -> None:
        """Write the patch and the list of changes into `into`."""
        dehydrate.collect(
            start.base,
            start.delta,
            tree,
            changed,
            into,
            self.limits,
            from_base=start.against is Against.BASE,
        )


def collector_of(ground: Ground[EngineSettings]) -> Collector:
    """What is made of a dead sandbox's workspace."""
    return Collector(PatchLimits(total_bytes=ground.settings.patch_bytes))


def _docker_provider(ground: Ground[EngineSettings], install: str) -> DockerProvider:
    """Blocking: the engine is asked for its version."""
    return local.provider(
        install=install,
        home=ground.home / "docker",
        depot=ground.depot,
        collect=collector_of(ground),
        apply_delta=apply_delta,
        unpack=unpack,
        cache_bytes=ground.settings.tree_cache_bytes,
        uid=ground.settings.sandbox_uid,
    )

"""The composition root: settings -> database, blobs, provider, doors, loops -> application.

Nothing else builds things.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import string
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.engine import make_url

from control_plane.api import create_app
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.store import BlobStore
from control_plane.db.embedded import embedded
from control_plane.db.engine import Sessions, new_engine, session_factory
from control_plane.db.migrate import migrate
from control_plane.gateway.door import Doors
from control_plane.gateway.sinks import AuditLog, DepotOutputs, PostgresChunks
from control_plane.orchestrator.base_runs import BaseRuns
from control_plane.orchestrator.compiled_runner import compiled_runner
from control_plane.orchestrator.environment_runs import EnvironmentRuns
from control_plane.orchestrator.execution import Execution
from control_plane.orchestrator.judging import Judging
from control_plane.orchestrator.reconcile import Reconciler
from control_plane.orchestrator.stages import Stages
from control_plane.orchestrator.supervise import Supervisor
from control_plane.orchestrator.task_moves import TaskMoves
from control_plane.orchestrator.task_run import TaskRuns
from control_plane.orchestrator.verdicts import Verdicts
from control_plane.orchestrator.verification import Verification
from control_plane.orchestrator.worker import Worker
from control_plane.repos import snapshots
from control_plane.repos.changes import Changes
from control_plane.repos.environments import archive
from control_plane.repos.mirrors import Mirrors
from control_plane.runs.leases import CHANNEL
from control_plane.runs.rules import RunKind
from control_plane.services import Services
from control_plane.settings import Settings
from quality_gates.paths import CONFIGURATION
from quality_gates.render import markdown
from runners import dehydrate
from runners.hydrate import apply_delta
from runners.pack import runner_pyz
from runners.tree_rules import PatchLimits
from sandboxes.docker import local
from sandboxes.docker.provider import DockerProvider

log = structlog.get_logger()

_INSTALL_LETTERS = string.ascii_lowercase + string.digits
_LISTEN_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Company:
    """A control plane at work: its application, its services, and the loops that `open_company` runs beside it."""

    settings: Settings
    services: Services
    app: FastAPI
    worker: Worker
    reconciler: Reconciler


@asynccontextmanager
async def open_company(settings: Settings) -> AsyncIterator[Company]:
    """Bring everything up over `settings.home`, drive runs while somebody is inside, and leave sandboxes to the next holder.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database.
        ProviderUnavailable, ImageMissing: no engine, or no runner image (`make images`).
    """
    async with (
        _records(settings) as (url, sessions),
        _working(settings, _home(settings), sessions, url) as company,
    ):
        yield company


@asynccontextmanager
async def open_reading(settings: Settings) -> AsyncIterator[Services]:
    """What is kept under `settings.home`, to be read: no engine is asked, and no run is driven.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database.
    """
    home = _home(settings)
    async with _records(settings) as (_, sessions):
        yield Services(
            sessions=sessions,
            mirrors=Mirrors(home / "mirrors"),
            blobs=BlobStore(home / "blobs"),
            markdown=markdown.render,
        )


def _home(settings: Settings) -> Path:
    return settings.home.absolute()


@asynccontextmanager
async def _records(settings: Settings) -> AsyncIterator[tuple[str, Sessions]]:
    """The database as it has to be: its address, and sessions of it."""
    _home(settings).mkdir(mode=0o711, parents=True, exist_ok=True)
    async with _database(settings) as url:
        await migrate(url)
        engine = new_engine(url, pool_size=settings.workers + settings.sandboxes)
        try:
            yield url, session_factory(engine)
        finally:
            await engine.dispose()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with embedded(settings.home.absolute()) as url:
        yield url


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything else stands on: the database, the files under the home, the engine and its doors."""

    settings: Settings
    home: Path
    sessions: Sessions
    blobs: BlobStore
    mirrors: Mirrors
    provider: DockerProvider
    doors: Doors
    install: str
    image: str
    runner: str
    """The sha256 of the blob that every sandbox runs as PID 1."""


@asynccontextmanager
async def _working(
    settings: Settings, home: Path, sessions: Sessions, url: str
) -> AsyncIterator[Company]:
    async with _ground(settings, home, sessions) as ground:
        company = _company(ground)
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(company.worker.serve(), name="worker"),
                group.create_task(company.reconciler.serve(), name="reconciler"),
                group.create_task(_listen(url, company.worker), name="listener"),
            ]
            try:
                yield company
            finally:
                for loop in loops:
                    loop.cancel()


@asynccontextmanager
async def _ground(settings: Settings, home: Path, sessions: Sessions) -> AsyncIterator[_Ground]:
    blobs, install = BlobStore(home / "blobs"), install_id(home)
    depot = LocalDepot(blobs, {kind: home / kind for kind in (snapshots.KIND, archive.KIND)})
    image = await asyncio.to_thread(lambda: settings.image_python or local.image("python"))
    provider = await asyncio.to_thread(_provider, settings, home, depot, install)
    doors = Doors(PostgresChunks(sessions), DepotOutputs(depot), AuditLog(sessions))
    try:
        yield _Ground(
            settings=settings,
            home=home,
            sessions=sessions,
            blobs=blobs,
            mirrors=Mirrors(home / "mirrors"),
            provider=provider,
            doors=doors,
            install=install,
            image=image,
            runner=await compiled_runner(
                provider, blobs, home / "runners", install, image, runner_pyz()
            ),
        )
    finally:
        await doors.close_all()
        await asyncio.to_thread(provider.close)


def _provider(settings: Settings, home: Path, depot: LocalDepot, install: str) -> DockerProvider:
    """Blocking: the engine is asked for its version."""
    return local.provider(
        install=install,
        home=home / "docker",
        depot=depot,
        collect=_Collector(home / "mirrors", PatchLimits(total_bytes=settings.patch_bytes)),
        apply_delta=apply_delta,
        uid=settings.sandbox_uid,
    )


def _company(ground: _Ground) -> Company:
    settings = ground.settings
    worker = Worker(
        sessions=ground.sessions,
        drive=_supervisor(ground).drive,
        owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        concurrency=settings.workers,
        lease_s=settings.lease_s,
        poll_s=settings.poll_s,
    )
    services = _services(ground, worker)
    reconciler = Reconciler(
        sessions=ground.sessions, provider=ground.provider, install=ground.install
    )
    return Company(settings, services, create_app(services), worker, reconciler)


def _supervisor(ground: _Ground) -> Supervisor:
    """The steps of every kind of run."""
    sessions, blobs, mirrors, image = ground.sessions, ground.blobs, ground.mirrors, ground.image
    trees = snapshots.Snapshots(ground.home / "snapshots", mirrors, ground.settings.sandbox_uid)
    stages = Stages(
        sessions=sessions,
        provider=ground.provider,
        blobs=blobs,
        doors=ground.doors,
        door_directory=ground.provider.door,
        install=ground.install,
        image=image,
        runner=ground.runner,
        concurrency=ground.settings.sandboxes,
    )
    judging = Judging(stages=stages, mirrors=mirrors, snapshots=trees, blobs=blobs)
    environments = EnvironmentRuns(
        sessions=sessions,
        stages=stages,
        blobs=blobs,
        mirrors=mirrors,
        snapshots=trees,
        environments=archive.Environments(ground.home / "environments"),
    )
    changes = Changes(mirrors, lambda path: path in CONFIGURATION)
    bases = BaseRuns(
        sessions=sessions,
        stages=stages,
        judging=judging,
        environments=environments,
        changes=changes,
    )
    verdicts = Verdicts(sessions, blobs, ground.settings.judge_again)
    moves = TaskMoves(sessions, verdicts, image)
    execution = Execution(
        sessions=sessions,
        stages=stages,
        moves=moves,
        environments=environments,
        blobs=blobs,
        mirrors=mirrors,
        snapshots=trees,
    )
    verification = Verification(
        stages=stages,
        moves=moves,
        judging=judging,
        environments=environments,
        bases=bases,
        changes=changes,
        verdicts=verdicts,
    )
    tasks = TaskRuns(moves, execution, verification)
    return Supervisor({RunKind.TASK: tasks, RunKind.PREPARE: environments, RunKind.BASE: bases})


def _services(ground: _Ground, worker: Worker) -> Services:
    async def database() -> str:
        async with ground.sessions() as session:
            return str(await session.scalar(text("SHOW server_version")))

    async def docker() -> str:
        return f"image {await asyncio.to_thread(local.image, 'python')}"

    return Services(
        sessions=ground.sessions,
        mirrors=ground.mirrors,
        blobs=ground.blobs,
        markdown=markdown.render,
        probes={"database": database, "docker": docker},
        poke=worker.poke,
    )


@dataclass(frozen=True, slots=True)
class _Collector:
    """`sandboxes.ports.Collect` over our mirrors; `against` is `<repository>/<tree>`."""

    mirrors: Path
    limits: PatchLimits

    def __call__(
        self, against: str, tree: Path, changed: Collection[bytes] | None, into: Path
    ) -> None:
        repo, _, wanted = against.partition("/")
        dehydrate.collect(self.mirrors / f"{repo}.git", wanted, tree, changed, into, self.limits)


async def _listen(url: str, worker: Worker) -> None:
    """One connection that is told when a run wants to be looked at.

    It may fail: polling makes it right.
    """
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(
                conninfo, autocommit=True
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                async for _ in connection.notifies():
                    worker.poke()
        await asyncio.sleep(_LISTEN_RETRY_S)


def install_id(home: Path) -> str:
    """Six characters that mark everything of this installation on engines that it may share with others."""
    path = home / "install"
    with (home / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_text(
                "".join(secrets.choice(_INSTALL_LETTERS) for _ in range(6)), encoding="ascii"
            )
    return path.read_text(encoding="ascii")

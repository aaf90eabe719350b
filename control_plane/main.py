"""The composition root: settings -> database, blobs, provider, doors, loops -> application. Nothing else builds things."""

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
    home = settings.home.absolute()
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    async with _database(settings) as url:
        await migrate(url)
        engine = new_engine(url, pool_size=settings.workers + settings.sandboxes)
        try:
            async with _working(settings, home, session_factory(engine), url) as company:
                yield company
        finally:
            await engine.dispose()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with embedded(settings.home.absolute()) as url:
        yield url


@asynccontextmanager
async def _working(settings: Settings, home: Path, sessions: Sessions, url: str) -> AsyncIterator[Company]:
    blobs = BlobStore(home / "blobs")
    mirrors = Mirrors(home / "mirrors")
    provider, image = await asyncio.to_thread(_engine, settings, home, blobs)
    doors = Doors(PostgresChunks(sessions), DepotOutputs(_depot(home, blobs)), AuditLog(sessions))
    try:
        install = install_id(home)
        runner = await compiled_runner(provider, blobs, home / "runners", install, image, runner_pyz())
        company = _company(settings, home, sessions, blobs, mirrors, provider, install, image, runner, doors)
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
    finally:
        await doors.close_all()
        await asyncio.to_thread(provider.close)


def _company(
    settings: Settings,
    home: Path,
    sessions: Sessions,
    blobs: BlobStore,
    mirrors: Mirrors,
    provider: DockerProvider,
    install: str,
    image: str,
    runner: str,
    doors: Doors,
) -> Company:
    trees = snapshots.Snapshots(home / "snapshots", mirrors, settings.sandbox_uid)
    stages = Stages(
        sessions=sessions,
        provider=provider,
        blobs=blobs,
        doors=doors,
        door_directory=provider.door,
        install=install,
        image=image,
        runner=runner,
        concurrency=settings.sandboxes,
    )
    judging = Judging(stages=stages, mirrors=mirrors, snapshots=trees, blobs=blobs)
    environments = EnvironmentRuns(
        sessions=sessions,
        stages=stages,
        blobs=blobs,
        mirrors=mirrors,
        snapshots=trees,
        environments=archive.Environments(home / "environments"),
    )
    changes = Changes(mirrors, lambda path: path in CONFIGURATION)
    bases = BaseRuns(sessions=sessions, stages=stages, judging=judging, environments=environments, changes=changes)
    verdicts = Verdicts(sessions, blobs, settings.judge_again)
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
    supervisor = Supervisor({RunKind.TASK: tasks, RunKind.PREPARE: environments, RunKind.BASE: bases})
    worker = Worker(
        sessions=sessions,
        drive=supervisor.drive,
        owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        concurrency=settings.workers,
        lease_s=settings.lease_s,
        poll_s=settings.poll_s,
    )

    async def database() -> str:
        async with sessions() as session:
            return str(await session.scalar(text("SHOW server_version")))

    async def docker() -> str:
        return f"image {await asyncio.to_thread(local.image, 'python')}"

    services = Services(
        sessions=sessions,
        mirrors=mirrors,
        blobs=blobs,
        markdown=markdown.render,
        probes={"database": database, "docker": docker},
        poke=worker.poke,
    )
    reconciler = Reconciler(sessions=sessions, provider=provider, install=install)
    return Company(settings, services, create_app(services), worker, reconciler)


def _engine(settings: Settings, home: Path, blobs: BlobStore) -> tuple[DockerProvider, str]:
    image = settings.image_python or local.image("python")
    provider = local.provider(
        install=install_id(home),
        home=home / "docker",
        depot=_depot(home, blobs),
        collect=_Collector(home / "mirrors", PatchLimits(total_bytes=settings.patch_bytes)),
        apply_delta=apply_delta,
        uid=settings.sandbox_uid,
    )
    return provider, image


def _depot(home: Path, blobs: BlobStore) -> LocalDepot:
    return LocalDepot(blobs, {kind: home / kind for kind in (snapshots.KIND, archive.KIND)})


@dataclass(frozen=True, slots=True)
class _Collector:
    """`sandboxes.ports.Collect` over our mirrors; `against` is `<repository>/<tree>`."""

    mirrors: Path
    limits: PatchLimits

    def __call__(self, against: str, tree: Path, changed: Collection[bytes] | None, into: Path) -> None:
        repo, _, wanted = against.partition("/")
        dehydrate.collect(self.mirrors / f"{repo}.git", wanted, tree, changed, into, self.limits)


async def _listen(url: str, worker: Worker) -> None:
    """One connection that is told when a run wants to be looked at. It may fail: polling makes it right."""
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
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
            path.write_text("".join(secrets.choice(_INSTALL_LETTERS) for _ in range(6)), encoding="ascii")
    return path.read_text(encoding="ascii")

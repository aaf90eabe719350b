"""The orchestrator's root: the worker that drives runs, the reconciler, and what wakes them."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from control_plane.gateway.keeper import DoorBell
from control_plane.loops import for_ever
from control_plane.orchestrator.base_cache import BaseCache
from control_plane.orchestrator.base_runs import BaseRuns
from control_plane.orchestrator.compiled_runner import CompiledRunners
from control_plane.orchestrator.driving import RunDriver
from control_plane.orchestrator.environment_cache import EnvironmentCache
from control_plane.orchestrator.gathering import EvidenceGatherer
from control_plane.orchestrator.judge_runs import JudgeRuns
from control_plane.orchestrator.lost_sites import LostSites
from control_plane.orchestrator.prepare_runs import PrepareRuns
from control_plane.orchestrator.recipes import Recipes
from control_plane.orchestrator.reconcile import Reconciler
from control_plane.orchestrator.recording import VerdictRecorder
from control_plane.orchestrator.run_moves import RunMoves
from control_plane.orchestrator.session_runs import SessionRuns
from control_plane.orchestrator.stages import Stages
from control_plane.orchestrator.worker import Worker
from control_plane.processes.engines import Engine
from control_plane.processes.ground import Ground
from control_plane.processes.retention import collector_of
from control_plane.repos.change_reader import ChangeReader
from control_plane.repos.given_patches import GivenPatches
from control_plane.repos.heads import Heads
from control_plane.repos.trees import Trees
from control_plane.runs.rules import RunKind
from control_plane.settings import OrchestratorSettings
from control_plane.sites import service as sites
from control_plane.sites.models import Site
from quality_gates.paths import CONFIGURATION
from quality_gates.project_rules import SETTINGS
from runners.pack import runner_pyz
from runners.tree_rules import PatchLimits


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """The loops of one process, at work."""

    worker: Worker
    reconciler: Reconciler


@asynccontextmanager
async def open_orchestrator(
    ground: Ground[OrchestratorSettings], engine: Engine, doors: DoorBell
) -> AsyncIterator[Orchestrator]:
    """Drive runs until the body ends; runs under way are left to their next holder."""
    worker, reconciler = _worker(ground, engine, doors), _reconciler(ground, engine)
    async with asyncio.TaskGroup() as group:
        loops = [
            group.create_task(worker.serve(), name="worker"),
            group.create_task(reconciler.serve(), name="reconciler"),
            group.create_task(_stay(ground, engine.site), name="site"),
            group.create_task(_look_for_lost_sites(ground), name="lost sites"),
            *_collecting(ground, group),
        ]
        try:
            with ground.wake.poking(worker.poke):
                yield Orchestrator(worker, reconciler)
        finally:
            for loop in loops:
                loop.cancel()


async def _stay(ground: Ground[OrchestratorSettings], site: Site) -> None:
    """Keep the site's lease."""
    lease_s = ground.settings.site_lease_s
    compared = False

    async def renewed() -> None:
        nonlocal compared
        async with ground.sessions.begin() as session:
            await sites.renew(session, site.id, lease_s)
        if not compared:  # the store may have been silent when we joined
            compared = await sites.share_blobs(
                ground.sessions, ground.blobs, site.home, site.engine
            )

    await for_ever("site", renewed, every_s=lease_s / 3)


async def _look_for_lost_sites(ground: Ground[OrchestratorSettings]) -> None:
    lost = LostSites(ground.sessions, ground.blobs, ground.settings.site_grace_s)
    await for_ever("lost sites", lost.once, every_s=ground.settings.site_lease_s / 3)


def _collecting(
    ground: Ground[OrchestratorSettings], group: asyncio.TaskGroup
) -> list[asyncio.Task[None]]:
    every_s = ground.settings.collect_hours * 3600
    if not every_s:
        return []
    return [group.create_task(collector_of(ground).serve(every_s), name="collector")]


def _worker(ground: Ground[OrchestratorSettings], engine: Engine, doors: DoorBell) -> Worker:
    settings = ground.settings
    return Worker(
        sessions=ground.sessions,
        wake=ground.wake,
        drive=_run_driver(ground, engine, doors).drive,
        owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        site=engine.site.id,
        concurrency=settings.workers,
        lease_s=settings.lease_s,
        poll_s=settings.poll_s,
    )


def _reconciler(ground: Ground[OrchestratorSettings], engine: Engine) -> Reconciler:
    return Reconciler(
        sessions=ground.sessions,
        provider=engine.provider,
        blobs=ground.blobs,
        install=engine.site.name,
    )


def _stages(ground: Ground[OrchestratorSettings], engine: Engine, doors: DoorBell) -> Stages:
    runners = CompiledRunners(
        engine.provider, ground.blobs, ground.home / "runners", engine.site.name, runner_pyz()
    )
    return Stages(
        sessions=ground.sessions,
        provider=engine.provider,
        blobs=ground.blobs,
        doors=doors,
        install=engine.site.name,
        site=engine.site.id,
        image=engine.image,
        runner=runners.of,
        concurrency=ground.settings.sandboxes,
    )


def _run_driver(ground: Ground[OrchestratorSettings], engine: Engine, doors: DoorBell) -> RunDriver:
    """The steps of every kind of run."""
    sessions, blobs, mirrors, image = ground.sessions, ground.blobs, ground.mirrors, engine.image
    snapshots, heads = ground.snapshots, Heads(Trees(mirrors), blobs)
    stages = _stages(ground, engine, doors)
    moves, recipes = RunMoves(sessions), Recipes(mirrors)
    gatherer = EvidenceGatherer(stages=stages, mirrors=mirrors, snapshots=snapshots, blobs=blobs)
    environments = EnvironmentCache(sessions=sessions, recipes=recipes, image=image)
    changes = ChangeReader(mirrors, lambda path: path in CONFIGURATION or path in SETTINGS)
    bases = BaseCache(sessions=sessions, changes=changes, image=image)
    session_runs = SessionRuns(
        sessions=sessions,
        stages=stages,
        moves=moves,
        environments=environments,
        blobs=blobs,
        mirrors=mirrors,
        heads=heads,
        snapshots=snapshots,
    )
    judge_runs = JudgeRuns(
        sessions=sessions,
        stages=stages,
        moves=moves,
        gatherer=gatherer,
        environments=environments,
        bases=bases,
        changes=changes,
        given=GivenPatches(mirrors, PatchLimits(total_bytes=ground.settings.patch_bytes)),
        heads=heads,
        recorder=VerdictRecorder(sessions, blobs, ground.settings.judge_again),
        image=image,
    )
    prepare_runs = PrepareRuns(
        sessions=sessions,
        stages=stages,
        moves=moves,
        blobs=blobs,
        snapshots=snapshots,
        depot=ground.depot,
        recipes=recipes,
        heads=heads,
        image=image,
    )
    base_runs = BaseRuns(
        sessions=sessions,
        moves=moves,
        gatherer=gatherer,
        environments=environments,
        bases=bases,
    )
    return RunDriver(
        {
            RunKind.SESSION: session_runs,
            RunKind.JUDGE: judge_runs,
            RunKind.PREPARE: prepare_runs,
            RunKind.BASE: base_runs,
        },
        snapshots.here,
    )

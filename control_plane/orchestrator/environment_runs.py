"""Environments: found by what they are made of, and prepared by runs of their own where there is none yet."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.orchestrator.children import WAITING_FOR, Wanted, wake_parents
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.specs import prepare_draft
from control_plane.orchestrator.stages import StageEnd, Stages
from control_plane.repos.environments import facts, index
from control_plane.repos.environments.detect import EnvironmentRecipe, detect
from control_plane.repos.environments.layers import EnvironmentRefused, Layers, take_layers
from control_plane.repos.environments.prepare import (
    LAYERS,
    NOTES,
    PROGRAM,
    Preparation,
    preparation,
)
from control_plane.repos.listings import dependency_files, readable
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.models import EnvironmentRow
from control_plane.repos.snapshots import Snapshots
from control_plane.repos.trees import Trees
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run
from control_plane.runs.rules import TERMINAL, RunKind, RunState
from quality_gates.model import Environment
from sandboxes.errors import BlobMissing, SandboxStartFailed, TooLarge
from sandboxes.ports import Depot
from sandboxes.spec import Ended, Workspace

TAIL_BYTES = 1500
_RECIPES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Prepared:
    """An environment that is there."""

    id: UUID
    layers: tuple[str, ...]
    facts: Environment


@dataclass(frozen=True, slots=True)
class Unpreparable:
    """There is no such environment, and an attempt to make it has just failed."""

    reason: str


class EnvironmentRuns:
    """Finds environments, and drives the runs of kind `prepare` that make them."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        stages: Stages,
        blobs: Blobs,
        mirrors: Mirrors,
        snapshots: Snapshots,
        depot: Depot,
    ) -> None:
        self._sessions, self._stages, self._blobs = sessions, stages, blobs
        self._mirrors, self._snapshots, self._depot = mirrors, snapshots, depot
        self._trees = Trees(mirrors)
        self._recipes: dict[tuple[str, str, str], EnvironmentRecipe] = {}

    async def find(self, run: Run, judged: str) -> Prepared | Wanted | Unpreparable:
        """The environment for base's build files and the requirements of the tree or commit `judged`."""
        recipe = await self._recipe(run, judged)
        key = recipe.key(self._stages.image, PROGRAM.read_bytes(), run.repo_id.hex, run.base_commit)
        async with self._sessions() as session:
            row = await session.scalar(
                select(EnvironmentRow).where(EnvironmentRow.cache_key == key)
            )
            if row is not None:
                await session.execute(
                    update(EnvironmentRow)
                    .where(EnvironmentRow.id == row.id)
                    .values(used_at=func.now())
                )
                await session.commit()
                return _prepared(row)
            if (waited := run.facts.get(WAITING_FOR)) is not None:
                child = await session.get(Run, UUID(waited))
                if child is not None and child.cache_key == key and child.state in TERMINAL:
                    return Unpreparable(
                        f"the environment could not be prepared (run {child.id}): {child.cause}"
                    )
        return Wanted(
            kind=RunKind.PREPARE,
            cache_key=key,
            repo_id=run.repo_id,
            base_commit=run.base_commit,
            deadline_s=run.deadline_s,
            driver={"kind": "prepare"},
            policy={},
            options={"judged": judged},
        )

    async def by_id(self, environment_id: UUID) -> Prepared:
        """One that was found before."""
        async with self._sessions() as session:
            return _prepared(await session.get_one(EnvironmentRow, environment_id))

    async def step(self, run: Run, lease: Lease, _: asyncio.Event) -> Run | Again:
        """QUEUED -> HYDRATING -> EXECUTING -> DEHYDRATING -> FINISHED."""
        if run.state is RunState.QUEUED:
            return await self._move(run, lease, RunState.HYDRATING)
        if run.state is RunState.HYDRATING:
            await self._snapshots.ensure(run.repo_id, run.base_commit)
            return await self._move(run, lease, RunState.EXECUTING)
        try:
            end = await self._stages.run(lease, prepare_draft(run, *await self._preparation(run)))
        except (SandboxStartFailed, index.NoPackageIndex) as refusal:
            return await self._lost(run, lease, str(refusal))
        if run.state is RunState.EXECUTING:
            return await self._move(run, lease, RunState.DEHYDRATING)
        return await self._dehydrate(run, lease, end)

    async def _preparation(self, run: Run) -> tuple[Preparation, Workspace]:
        recipe = await self._recipe(run, run.options["judged"])
        access = await index.ask() if recipe.fetches else None
        base = await self._snapshots.ensure(run.repo_id, run.base_commit)
        return preparation(recipe, access), Workspace(base=base)

    async def _dehydrate(self, run: Run, lease: Lease, end: StageEnd) -> Run:
        left = end.outcome.outputs.get(LAYERS)
        if end.outcome.ended is not Ended.COMPLETED or left is None:
            return await self._lost(run, lease, await self._why(end))
        try:
            layers = await asyncio.to_thread(self._taken, left.sha256)
        except EnvironmentRefused as refused:
            return await self._lost(run, lease, str(refused))
        recipe = await self._recipe(run, run.options["judged"])
        notes = await self._notes(end)
        found = facts.environment(layers, self._stages.image, recipe, notes)
        row = {
            "id": new_id(),
            "cache_key": run.cache_key,
            "sha256": layers.sha256,
            "layers": list(layers.blobs),
            "facts": asdict(found),
            "run_id": run.id,
        }
        async with self._sessions.begin() as session:
            await lease.check(session)
            await session.execute(insert(EnvironmentRow).values(row).on_conflict_do_nothing())
            moved = await move_run(session, run.id, RunState.FINISHED, epoch=lease.epoch)
            await wake_parents(session, run.id)
        return moved

    def _taken(self, output: str) -> Layers:
        """Blocking."""
        with self._depot.open(output) as source:
            return take_layers(source, self._depot)

    async def _why(self, end: StageEnd) -> str:
        """Why there are no layers, with the last words of the tool that failed."""
        said = [f"prepare ended as {end.outcome.ended.value}, exit code {end.outcome.exit_code}"]
        said += [f"{name}: {why}" for name, why in end.outcome.refused.items()]
        for stream in ("stdout", "stderr"):
            sealed = end.streams.get(stream)
            if sealed is not None and sealed.size_bytes:
                start = max(0, sealed.size_bytes - TAIL_BYTES)
                tail = b"".join([one async for one in self._blobs.stream(sealed.sha256, start)])
                said.append(tail.decode(errors="replace").strip())
        return "; ".join(said).replace("\0", "\\0")

    async def _notes(self, end: StageEnd) -> tuple[str, ...]:
        """What the preparation said of itself, for people only."""
        try:
            notes = end.outcome.outputs[NOTES].sha256
            document = json.loads(await self._blobs.read(notes, 2**20))
            return tuple(str(note)[:1000] for note in document["notes"][:100])
        except (KeyError, TypeError, ValueError, RecursionError, BlobMissing, TooLarge):
            return ()

    async def _recipe(self, run: Run, judged: str) -> EnvironmentRecipe:
        """What two trees ask for, worked out once: neither can change under its id."""
        key = (run.repo_id.hex, run.base_commit, judged)
        if key not in self._recipes:
            recipe = await self._detected(run, judged)
            if len(self._recipes) >= _RECIPES_KEPT:
                self._recipes.clear()
            self._recipes[key] = recipe
        return self._recipes[key]

    async def _detected(self, run: Run, judged: str) -> EnvironmentRecipe:
        base_files, tree = await self._dependency_files(run.repo_id.hex, run.base_commit)
        judged_files, _ = await self._dependency_files(run.repo_id.hex, judged)
        return detect(base_files, judged_files, tree)

    async def _dependency_files(
        self, repo: str, tree: str
    ) -> tuple[dict[str, bytes], Mapping[str, str]]:
        listing = await readable(self._trees, repo, tree)
        return await dependency_files(self._trees, repo, listing), listing.modes

    async def _lost(self, run: Run, lease: Lease, why: str) -> Run:
        async with self._sessions.begin() as session:
            return await lose(session, run, epoch=lease.epoch, cause=why)

    async def _move(self, run: Run, lease: Lease, to: RunState) -> Run:
        async with self._sessions.begin() as session:
            return await move_run(session, run.id, to, epoch=lease.epoch)


def _prepared(row: EnvironmentRow) -> Prepared:
    listed = {name: tuple(row.facts[name]) for name in ("pytest_plugins", "notes")}
    return Prepared(row.id, tuple(row.layers), Environment(**{**row.facts, **listed}))

"""Environments, made: the runs of kind `prepare`."""

import asyncio
import json
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.judgements.models import Judgement
from control_plane.orchestrator.children import wake_parents
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.recipes import Recipes
from control_plane.orchestrator.run_moves import RunMoves
from control_plane.orchestrator.specs import prepare_draft
from control_plane.orchestrator.stages import StageEnd, Stages
from control_plane.orchestrator.streams import last_words
from control_plane.repos.environments import facts, index
from control_plane.repos.environments.detect import EnvironmentRecipe
from control_plane.repos.environments.layers import EnvironmentRefused, Layers, take_layers
from control_plane.repos.environments.prepare import LAYERS, NOTES, Preparation, preparation
from control_plane.repos.heads import Heads
from control_plane.repos.models import EnvironmentRow
from control_plane.repos.snapshots import Snapshots
from control_plane.runs.models import Run, SharedRun
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState
from sandboxes.errors import BlobMissing, SandboxStartFailed, TooLarge
from sandboxes.ports import Depot
from sandboxes.spec import Ended, Workspace


class PrepareRuns:
    """QUEUED -> HYDRATING -> EXECUTING -> DEHYDRATING -> FINISHED."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        stages: Stages,
        moves: RunMoves,
        blobs: Blobs,
        snapshots: Snapshots,
        depot: Depot,
        recipes: Recipes,
        heads: Heads,
        image: str,
    ) -> None:
        self._sessions, self._stages, self._moves, self._blobs = sessions, stages, moves, blobs
        self._snapshots, self._depot = snapshots, depot
        self._recipes, self._heads, self._image = recipes, heads, image

    async def step(self, run: Run, lease: Lease, _: asyncio.Event) -> Run | Again:
        """Do the next thing."""
        if run.state is RunState.QUEUED:
            return await self._moves.move(run, lease, RunState.HYDRATING)
        if run.state is RunState.HYDRATING:
            await self._snapshots.ensure(run.repo_id, run.base_commit)
            return await self._moves.move(run, lease, RunState.EXECUTING)
        try:
            end = await self._stages.run(lease, prepare_draft(run, *await self._preparation(run)))
        except (SandboxStartFailed, index.NoPackageIndex) as refusal:
            return await self._moves.lose(run, lease, str(refusal))
        if run.state is RunState.EXECUTING:
            return await self._moves.move(run, lease, RunState.DEHYDRATING)
        return await self._dehydrate(run, lease, end)

    async def _preparation(self, run: Run) -> tuple[Preparation, Workspace]:
        recipe = await self._recipe(run)
        access = await index.ask() if recipe.fetches else None
        base = await self._snapshots.ensure(run.repo_id, run.base_commit)
        return preparation(recipe, access), Workspace(base=base)

    async def _dehydrate(self, run: Run, lease: Lease, end: StageEnd) -> Run:
        left = end.outcome.outputs.get(LAYERS)
        if end.outcome.ended is not Ended.COMPLETED or left is None:
            return await self._moves.lose(run, lease, await self._why(end))
        try:
            layers = await asyncio.to_thread(self._taken, left.sha256)
        except EnvironmentRefused as refused:
            return await self._moves.lose(run, lease, str(refused))
        recipe, notes = await self._recipe(run), await self._notes(end)
        found = facts.environment(layers, self._image, recipe, notes)
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
            if words := await last_words(self._blobs, end.streams.get(stream)):
                said.append(words)
        return "; ".join(said).replace("\0", "\\0")

    async def _notes(self, end: StageEnd) -> tuple[str, ...]:
        """What the preparation said of itself, for people only."""
        try:
            notes = end.outcome.outputs[NOTES].sha256
            document = json.loads(await self._blobs.read(notes, 2**20))
            return tuple(str(note)[:1000] for note in document["notes"][:100])
        except (KeyError, TypeError, ValueError, RecursionError, BlobMissing, TooLarge):
            return ()

    async def _recipe(self, run: Run) -> EnvironmentRecipe:
        async with self._sessions() as session:
            shared = await session.get_one(SharedRun, run.id)
        if shared.judged is None:
            raise RuntimeError(f"prepare run {run.id} does not say for which tree")
        if (patch := await self._patch(run, shared.judged)) is not None:
            await self._heads.here(run.repo_id.hex, run.base_commit, shared.judged, patch)
        return await self._recipes.of(run, shared.judged)

    async def _patch(self, run: Run, judged: str) -> str | None:
        """What makes `judged` of base, as the judgement that asked says; None: it is base's own."""
        asker = select(Judgement.patch_sha256).join(Run, Run.id == Judgement.run_id)
        ours = asker.where(Run.waiting_for == run.id, Judgement.head_tree == judged)
        async with self._sessions() as session:
            patch: str | None = await session.scalar(ours.limit(1))
        return patch

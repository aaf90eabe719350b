"""Base results, made: the runs of kind `base`."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.judgements.policies import policy_from_json
from control_plane.orchestrator.base_cache import BaseCache, Ran
from control_plane.orchestrator.children import wake_parents
from control_plane.orchestrator.environment_cache import EnvironmentCache
from control_plane.orchestrator.gathering import EvidenceGatherer, ended_well
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.run_moves import RunMoves
from control_plane.runs.models import Run, SharedRun
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState
from sandboxes.errors import SandboxStartFailed


class BaseRuns:
    """QUEUED -> HYDRATING -> VERIFYING -> FINISHED."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        moves: RunMoves,
        gatherer: EvidenceGatherer,
        environments: EnvironmentCache,
        bases: BaseCache,
    ) -> None:
        self._sessions, self._moves, self._gatherer = sessions, moves, gatherer
        self._environments, self._bases = environments, bases

    async def step(self, run: Run, lease: Lease, _: asyncio.Event) -> Run | Again:
        """Do the next thing."""
        if run.state is RunState.QUEUED:
            return await self._moves.move(run, lease, RunState.HYDRATING)
        if run.state is RunState.HYDRATING:
            return await self._moves.move(run, lease, RunState.VERIFYING)
        try:
            ran = await self._ran(run, lease)
        except SandboxStartFailed as refusal:
            return await self._moves.lose(run, lease, f"the engine refuses a stage: {refusal}")
        async with self._sessions.begin() as session:
            moved = await move_run(session, run.id, RunState.FINISHED, epoch=lease.epoch)
            shared = await session.get_one(SharedRun, run.id)
            shared.cacheable = ended_well(ran)
            await wake_parents(session, run.id)
        return moved

    async def _ran(self, run: Run, lease: Lease) -> Ran:
        async with self._sessions() as session:
            shared = await session.get_one(SharedRun, run.id)
        if shared.environment_id is None or shared.policy is None:
            raise RuntimeError(f"base run {run.id} does not say what it is to look at")
        prepared = await self._environments.by_id(shared.environment_id)
        plans = await self._bases.plans(run, policy_from_json(shared.policy), prepared)
        return await self._gatherer.run(
            lease,
            plans,
            repo_id=run.repo_id,
            base_commit=run.base_commit,
            head_tree=None,
            environment=prepared.layers,
        )

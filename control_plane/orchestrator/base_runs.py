"""Base results: what the gates find on a base commit, once per commit, environment, image and gate configuration."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.orchestrator.children import Wanted, wake_parents
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.environment_runs import EnvironmentRuns, Prepared
from control_plane.orchestrator.judging import Judging, StageRan, ended_well
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.stages import Stages, stage_end
from control_plane.repos.changes import Changes
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.moves import move_run
from control_plane.runs.policy import policy_from_json
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState
from quality_gates.model import Stage, StagePlan
from quality_gates.plan import base_plan
from quality_gates.trusted import configuration_sha256
from sandboxes.errors import SandboxStartFailed

Ran = Mapping[Stage, StageRan]


class BaseRuns:
    """Finds base results, and drives the runs of kind `base` that make them."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        stages: Stages,
        judging: Judging,
        environments: EnvironmentRuns,
        changes: Changes,
    ) -> None:
        self._sessions, self._stages, self._judging = sessions, stages, judging
        self._environments, self._changes = environments, changes

    async def find(self, run: Run, prepared: Prepared, child: UUID | None = None) -> Ran | Wanted:
        """The base results for `run`, or the run that makes them.

        `child` is one that `run` has waited for: when it has ended, its evidence is taken even if
        it is too poor to be kept for others, and none at all if it was lost.
        """
        wanted = self._wanted(run, prepared)
        async with self._sessions() as session:
            ended = select(Run).where(
                Run.kind == RunKind.BASE, Run.cache_key == wanted.cache_key, Run.state.in_(TERMINAL)
            )
            kept = (
                ended.where(Run.facts["cacheable"].as_boolean())
                .order_by(Run.created_at.desc())
                .limit(1)
            )
            found = await session.scalar(kept)
            if found is None and child is not None:
                found = await session.scalar(ended.where(Run.id == child))
            if found is None:
                return wanted
            query = select(Sandbox).where(
                Sandbox.run_id == found.id,
                Sandbox.state.in_((SandboxState.ENDED, SandboxState.DESTROYED)),
            )
            rows = list(await session.scalars(query.order_by(Sandbox.n)))
        if found.state is not RunState.FINISHED:
            return {}
        newest = {row.stage: row for row in rows}  # the highest n of each stage
        return {
            plan.stage: StageRan(plan, stage_end(newest[plan.stage.value]))
            for plan in await self._plans(found, prepared)
            if plan.stage.value in newest
        }

    def _wanted(self, run: Run, prepared: Prepared) -> Wanted:
        policy = policy_from_json(run.policy)
        parts = (
            run.repo_id.hex, run.base_commit, prepared.facts.sha256, self._stages.image, configuration_sha256(policy)
        )  # fmt: skip
        return Wanted(
            kind=RunKind.BASE,
            cache_key=hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
            repo_id=run.repo_id,
            base_commit=run.base_commit,
            deadline_s=run.deadline_s,
            driver={},
            policy=run.policy,
            options={"environment_id": str(prepared.id)},
        )

    async def _plans(self, run: Run, prepared: Prepared) -> tuple[StagePlan, ...]:
        """A base run looks at a change that changes nothing: its plans cannot depend on any patch."""
        change = await self._changes.change(run.repo_id.hex, run.base_commit, run.base_commit, "")
        return base_plan(change, policy_from_json(run.policy), prepared.facts)

    async def step(self, run: Run, lease: Lease, _: asyncio.Event) -> Run | Again:
        """QUEUED -> HYDRATING -> VERIFYING -> FINISHED."""
        if run.state is RunState.QUEUED:
            return await self._move(run, lease, RunState.HYDRATING)
        if run.state is RunState.HYDRATING:
            return await self._move(run, lease, RunState.VERIFYING)
        prepared = await self._environments.by_id(UUID(run.options["environment_id"]))
        try:
            ran = await self._judging.run(
                lease,
                await self._plans(run, prepared),
                repo_id=run.repo_id,
                base_commit=run.base_commit,
                head_tree=run.base_commit,
                environment=prepared.layers,
            )
        except SandboxStartFailed as refusal:
            async with self._sessions.begin() as session:
                return await lose(
                    session, run, epoch=lease.epoch, cause=f"base could not be judged: {refusal}"
                )
        facts: dict[str, Any] = {**run.facts, "cacheable": ended_well(ran)}
        return await self._move(run, lease, RunState.FINISHED, changes={"facts": facts})

    async def _move(
        self, run: Run, lease: Lease, to: RunState, *, changes: Mapping[str, Any] | None = None
    ) -> Run:
        async with self._sessions.begin() as session:
            moved = await move_run(session, run.id, to, epoch=lease.epoch, changes=changes)
            if to in TERMINAL:
                await wake_parents(session, run.id)
        return moved

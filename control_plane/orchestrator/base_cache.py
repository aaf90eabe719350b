"""Base results, found: what the gates found on a base commit, once per environment and question."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.judgements.policies import policy_from_json
from control_plane.orchestrator.children import Wanted, last_ended
from control_plane.orchestrator.environment_cache import Prepared
from control_plane.orchestrator.gathering import StageRan
from control_plane.orchestrator.stages import RELAUNCHED, stage_end
from control_plane.repos.change_reader import ChangeReader
from control_plane.runs.models import Run, Sandbox, SharedRun
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState
from quality_gates.model import GatePolicy, Stage, StagePlan
from quality_gates.plan import base_plan
from quality_gates.trusted import configuration_sha256
from sandboxes.spec import Ended

Ran = Mapping[Stage, StageRan]
_PLATFORMS = frozenset({*RELAUNCHED, Ended.UNSCHEDULABLE, Ended.QUOTA})


@dataclass(frozen=True, slots=True)
class BaseResults:
    """What there is of base. `trouble`: why it could not be tested; empty: it could."""

    ran: Ran
    trouble: str = ""
    can_change: bool = False
    """Whether the trouble is of a kind that another try may not meet."""


class BaseCache:
    """Looks for base results; makes none (see `base_runs`)."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        changes: ChangeReader,
        image: str,
    ) -> None:
        self._sessions, self._changes, self._image = sessions, changes, image

    async def find(
        self, run: Run, policy: Mapping[str, Any], prepared: Prepared
    ) -> BaseResults | Wanted:
        """The base results for `run`, or the shared run that makes them.

        A shared run that `run` has asked for is the answer when it has ended, however it ended: it
        is not made again for the same asker.
        """
        wanted = self._wanted(run, policy, prepared)
        async with self._sessions() as session:
            before = await last_ended(session, wanted.kind, wanted.cache_key)
        found = await self._kept(wanted.cache_key) or await self._asked_for(run, wanted.cache_key)
        if found is None:
            return replace(wanted, last_ended=before)
        if found.state is not RunState.FINISHED:
            return BaseResults({}, trouble=found.cause or found.state.value)
        plans = await self.plans(found, policy_from_json(policy), prepared)
        return _results(plans, await self._sandboxes(found.id))

    async def plans(
        self, run: Run, policy: GatePolicy, prepared: Prepared
    ) -> tuple[StagePlan, ...]:
        """A base run looks at a change that changes nothing.

        Its plans cannot depend on any patch.
        """
        change = await self._changes.unchanged(run.repo_id.hex, run.base_commit)
        return base_plan(change, policy, prepared.facts)

    def _wanted(self, run: Run, policy: Mapping[str, Any], prepared: Prepared) -> Wanted:
        parts = (
            run.repo_id.hex,
            run.base_commit,
            prepared.facts.sha256,
            self._image,
            configuration_sha256(policy_from_json(policy)),
        )
        return Wanted(
            kind=RunKind.BASE,
            cache_key=hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
            repo_id=run.repo_id,
            base_commit=run.base_commit,
            deadline_s=run.deadline_s,
            environment_id=prepared.id,
            policy=dict(policy),
        )

    async def _kept(self, cache_key: str) -> Run | None:
        """The newest run of this key whose evidence is whole."""
        query = (
            select(Run)
            .join(SharedRun, SharedRun.run_id == Run.id)
            .where(
                Run.kind == RunKind.BASE,
                Run.cache_key == cache_key,
                Run.state == RunState.FINISHED,
                SharedRun.cacheable.is_(True),
            )
        )
        async with self._sessions() as session:
            found: Run | None = await session.scalar(query.order_by(Run.id.desc()).limit(1))
        return found

    async def _asked_for(self, run: Run, cache_key: str) -> Run | None:
        """The ended run of this key that `run` has asked for."""
        async with self._sessions() as session:
            # Asked of the database: `run` was read before it was noted there.
            noted = select(Run.waiting_for).where(Run.id == run.id).scalar_subquery()
            found: Run | None = await session.scalar(
                select(Run).where(
                    Run.id == noted,
                    Run.kind == RunKind.BASE,
                    Run.cache_key == cache_key,
                    Run.state.in_(TERMINAL),
                )
            )
        return found

    async def _sandboxes(self, run_id: UUID) -> list[Sandbox]:
        query = select(Sandbox).where(
            Sandbox.run_id == run_id,
            Sandbox.state.in_((SandboxState.ENDED, SandboxState.DESTROYED)),
        )
        async with self._sessions() as session:
            return list(await session.scalars(query.order_by(Sandbox.n)))


def _results(plans: tuple[StagePlan, ...], rows: list[Sandbox]) -> BaseResults:
    newest = {row.stage: stage_end(row) for row in rows}  # the highest n of each stage
    ran = {
        plan.stage: StageRan(plan, newest[plan.stage.value])
        for plan in plans
        if plan.stage.value in newest
    }
    bad = {
        stage: end.outcome
        for stage, end in newest.items()
        if end.outcome.ended is not Ended.COMPLETED
    }
    told = (f"stage {stage} ended as {one.ended} {one.detail}" for stage, one in bad.items())
    can_change = any(one.ended in _PLATFORMS for one in bad.values())
    return BaseResults(ran, "; ".join(part.strip() for part in told), can_change)

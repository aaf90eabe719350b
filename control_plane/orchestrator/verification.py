"""VERIFYING: the patch is judged in fresh sandboxes.

What could not be decided is judged again, never executed again.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from control_plane.orchestrator.base_runs import BaseRuns
from control_plane.orchestrator.children import RECHECK_S, Wanted
from control_plane.orchestrator.environment_runs import EnvironmentRuns, Prepared, Unpreparable
from control_plane.orchestrator.judging import Judging, StageRan
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.stages import Stages
from control_plane.orchestrator.task_moves import TaskMoves
from control_plane.orchestrator.verdicts import Verdicts
from control_plane.repos.changes import Changes
from control_plane.repos.trees import ChangeTooLarge
from control_plane.runs.models import Run
from control_plane.runs.policy import policy_from_json
from control_plane.runs.rules import RunState
from quality_gates.gates.integrity import barred
from quality_gates.judge import judge
from quality_gates.model import Change, Environment, GatePolicy, Stage, Verdict
from quality_gates.plan import plan
from sandboxes.errors import SandboxStartFailed

NO_ENVIRONMENT = Environment(sha256="", image="", python="", own_pytest=False, pytest_plugins=())
"""For a change that nothing is installed for and no sandbox looks at (`barred`)."""


class Verification:
    """The last state of a task's run."""

    def __init__(
        self,
        *,
        stages: Stages,
        moves: TaskMoves,
        judging: Judging,
        environments: EnvironmentRuns,
        bases: BaseRuns,
        changes: Changes,
        verdicts: Verdicts,
    ) -> None:
        self._stages, self._moves, self._judging = stages, moves, judging
        self._environments, self._bases, self._changes, self._verdicts = (
            environments,
            bases,
            changes,
            verdicts,
        )

    async def verifying(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run | Again:
        """Judge the patch; what could not be decided is judged again, never executed again."""
        try:
            return await self._judging_of(run, lease, cancelled)
        except ChangeTooLarge as too_large:
            return await self._moves.undecided(run, lease, Verdict.FAILED, str(too_large))
        except SandboxStartFailed as refusal:
            return await self._moves.lose(run, lease, f"the change could not be judged: {refusal}")

    async def _judging_of(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run | Again:
        policy = policy_from_json(run.policy)
        change = await self._change(run)
        if barred(change, policy):
            return await self._judged(run, lease, change, policy, NO_ENVIRONMENT, {})
        found = await self._environments.find(run, str(run.head_tree))
        if isinstance(found, Wanted):
            return await self._moves.wait_for(found)
        if isinstance(found, Unpreparable):
            return await self._moves.undecided(run, lease, Verdict.ERRORED, found.reason)
        return await self._looked_at(run, lease, change, policy, found, cancelled)

    async def _looked_at(
        self,
        run: Run,
        lease: Lease,
        change: Change,
        policy: GatePolicy,
        found: Prepared,
        cancelled: asyncio.Event,
    ) -> Run | Again:
        base = await self._bases.find(run, found)
        child = (
            await self._moves.child(base) if isinstance(base, Wanted) else None
        )  # it runs while ours do
        async with self._stages.stopped_by(cancelled, lease):
            ran = await self._judging.run(
                lease,
                plan(change, policy, found.facts),
                repo_id=run.repo_id,
                base_commit=run.base_commit,
                head_tree=str(run.head_tree),
                environment=found.layers,
                attempt=run.judge_attempt,
            )
        if cancelled.is_set():
            return await self._moves.move(
                run, lease, RunState.CANCELLED, cause="cancelled by request"
            )
        if isinstance(base, Wanted):
            base = await self._bases.find(run, found, child)
        if isinstance(base, Wanted):
            return Again(RECHECK_S, waiting_for=child)
        return await self._judged(
            run, lease, change, policy, found.facts, {**base, **ran}, found.id
        )

    async def _change(self, run: Run) -> Change:
        change = await self._changes.change(
            run.repo_id.hex, run.base_commit, str(run.head_tree), str(run.patch_sha256)
        )
        return replace(change, refused_entries=tuple(run.facts.get("refused", ())))

    async def _judged(
        self,
        run: Run,
        lease: Lease,
        change: Change,
        policy: GatePolicy,
        environment: Environment,
        ran: Mapping[Stage, StageRan],
        environment_id: UUID | None = None,
    ) -> Run:
        image = self._stages.image
        with tempfile.TemporaryDirectory(prefix="vsc-evidence-") as into:
            evidence = await self._judging.evidence(ran, Path(into))
            report = await asyncio.to_thread(judge, change, policy, environment, image, evidence)
        return await self._verdicts.record(run, lease, report, environment_id=environment_id)

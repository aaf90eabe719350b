"""The runs of kind `judge`: a patch is judged in fresh sandboxes (DESIGN section 5, Verify).

What could not be decided is judged again, never executed again.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.judgements.models import Judgement
from control_plane.judgements.policies import policy_from_json
from control_plane.orchestrator.base_cache import BaseCache, BaseResults
from control_plane.orchestrator.children import RECHECK_S, Wanted
from control_plane.orchestrator.environment_cache import EnvironmentCache, Prepared, Unpreparable
from control_plane.orchestrator.gathering import EvidenceGatherer, StageRan
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.limited_judge import EvidenceTooLarge, LimitedJudge
from control_plane.orchestrator.recording import VerdictRecorder
from control_plane.orchestrator.run_moves import RunMoves
from control_plane.orchestrator.stages import Stages
from control_plane.repos.change_reader import ChangeReader
from control_plane.repos.given_patches import GivenPatches
from control_plane.repos.heads import Heads
from control_plane.repos.trees import ChangeTooLarge, PatchDoesNotApply
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState
from quality_gates.gates.integrity import barred
from quality_gates.model import Change, Environment, Stage, StagePlan, TaskReport, Verdict
from quality_gates.plan import again, plan
from sandboxes.errors import SandboxStartFailed

NO_ENVIRONMENT = Environment(sha256="", image="", python="", own_pytest=False, pytest_plugins=())
"""For a change that nothing is installed for and no sandbox looks at (`barred`)."""


class JudgeRuns:
    """QUEUED -> HYDRATING -> VERIFYING -> FINISHED."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        stages: Stages,
        moves: RunMoves,
        gatherer: EvidenceGatherer,
        environments: EnvironmentCache,
        bases: BaseCache,
        changes: ChangeReader,
        given: GivenPatches,
        heads: Heads,
        recorder: VerdictRecorder,
        image: str,
    ) -> None:
        self._sessions, self._stages, self._moves = sessions, stages, moves
        self._gatherer, self._environments, self._bases = gatherer, environments, bases
        self._changes, self._given, self._heads = changes, given, heads
        self._recorder, self._image = recorder, image
        self._judge = LimitedJudge()

    async def step(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run | Again:
        """Do the next thing. A cancel is seen between two things, and ends living sandboxes."""
        if run.cancel_requested_at is not None or cancelled.is_set():
            return await self._moves.cancel(run, lease)
        if run.state is RunState.QUEUED:
            return await self._moves.begin(run, lease)
        own = await self._own(run)
        try:
            return await self._decided(run, own, lease, cancelled)
        except ChangeTooLarge as too_large:
            return await self._undecided(run, own, lease, Verdict.FAILED, str(too_large))
        except EvidenceTooLarge as too_large:
            return await self._undecided(run, own, lease, Verdict.INCONCLUSIVE, str(too_large))
        except SandboxStartFailed as refusal:
            return await self._moves.lose(run, lease, f"the change could not be judged: {refusal}")

    async def _decided(
        self, run: Run, own: Judgement, lease: Lease, cancelled: asyncio.Event
    ) -> Run | Again:
        if run.state is RunState.HYDRATING:
            return await self._hydrating(run, own, lease)
        return await self._verifying(run, own, lease, cancelled)

    async def _own(self, run: Run) -> Judgement:
        async with self._sessions() as session:
            return await session.get_one(Judgement, run.id)

    async def _hydrating(self, run: Run, own: Judgement, lease: Lease) -> Run:
        """Head's tree in our mirror; of a patch that was brought, also what of it is refused."""
        if own.head_tree is not None:
            return await self._moves.move(run, lease, RunState.VERIFYING)
        repo, base = run.repo_id.hex, run.base_commit
        try:
            tree = await self._heads.made(repo, base, own.patch_sha256)
        except PatchDoesNotApply as problem:
            why = f"the patch does not apply exactly: {problem}"
            return await self._undecided(run, own, lease, Verdict.FAILED, why)
        refused = await self._given.refused(repo, base, tree)
        async with self._sessions.begin() as session:
            moved = await move_run(session, run.id, RunState.VERIFYING, epoch=lease.epoch)
            row = await session.get_one(Judgement, run.id)
            row.head_tree, row.refused = tree, list(refused)
        return moved

    async def _verifying(
        self, run: Run, own: Judgement, lease: Lease, cancelled: asyncio.Event
    ) -> Run | Again:
        head = str(own.head_tree)
        await self._heads.here(run.repo_id.hex, run.base_commit, head, own.patch_sha256)
        change = await self._change(run, own)
        if barred(change, policy_from_json(own.policy)):
            report = await self._report(own, change, NO_ENVIRONMENT, BaseResults({}))
            return await self._recorder.record(run, lease, report)
        found = await self._environments.find(run, head)
        if isinstance(found, Wanted):
            return await self._moves.wait_for(lease, found)
        if isinstance(found, Unpreparable):
            return await self._undecided(run, own, lease, Verdict.ERRORED, found.reason)
        return await self._looked_at(run, own, lease, change, found, cancelled)

    async def _looked_at(
        self,
        run: Run,
        own: Judgement,
        lease: Lease,
        change: Change,
        found: Prepared,
        cancelled: asyncio.Event,
    ) -> Run | Again:
        base = await self._bases.find(run, own.policy, found)
        if isinstance(base, Wanted):
            child = await self._moves.want(lease, base)  # it runs while ours do
        plans = plan(change, policy_from_json(own.policy), found.facts)
        ran = await self._ran(run, own, lease, plans, found, cancelled)
        if cancelled.is_set():
            return await self._moves.cancel(run, lease)
        if isinstance(base, Wanted):
            base = await self._bases.find(run, own.policy, found)
        if isinstance(base, Wanted):
            return Again(RECHECK_S, waiting_for=child)
        both = replace(base, ran={**base.ran, **ran})
        report = await self._report(own, change, found.facts, both)
        if report.again:
            more = await self._ran(run, own, lease, again(plans, report.again), found, cancelled)
            if cancelled.is_set():
                return await self._moves.cancel(run, lease)
            both = replace(both, ran={**both.ran, **more})
            report = await self._report(own, change, found.facts, both)
        trouble = report.base_trouble
        return await self._recorder.record(
            run,
            lease,
            report,
            cause=f"base could not be tested: {trouble}" if trouble else "",
            environment_id=found.id,
            final=bool(trouble) and not base.can_change,
        )

    async def _ran(
        self,
        run: Run,
        own: Judgement,
        lease: Lease,
        plans: Sequence[StagePlan],
        found: Prepared,
        cancelled: asyncio.Event,
    ) -> dict[Stage, StageRan]:
        async with self._stages.stopped_by(cancelled, lease):
            return await self._gatherer.run(
                lease,
                plans,
                repo_id=run.repo_id,
                base_commit=run.base_commit,
                head_tree=str(own.head_tree),
                environment=found.layers,
                attempt=own.attempt,
            )

    async def _change(self, run: Run, own: Judgement) -> Change:
        change = await self._changes.read(
            run.repo_id.hex, run.base_commit, str(own.head_tree), own.patch_sha256
        )
        return replace(change, refused_entries=tuple(own.refused))

    async def _report(
        self, own: Judgement, change: Change, environment: Environment, found: BaseResults
    ) -> TaskReport:
        policy = policy_from_json(own.policy)
        with tempfile.TemporaryDirectory(prefix="vsc-evidence-") as into:
            evidence = await self._gatherer.evidence(found.ran, Path(into))
            report = await self._judge.judge((change, policy, environment, self._image, evidence))
        return replace(report, base_trouble=found.trouble or report.base_trouble)

    async def _undecided(
        self, run: Run, own: Judgement, lease: Lease, verdict: Verdict, why: str
    ) -> Run:
        """End with a verdict that needed no gate, and still with a report that says why."""
        report = TaskReport(
            verdict=verdict,
            gates=(),
            base_commit=run.base_commit,
            patch_sha256=own.patch_sha256,
            image=self._image,
            environment_sha256="",
            policy=policy_from_json(own.policy),
            notes=(why,),
        )
        return await self._recorder.record(run, lease, report, cause=why, final=True)

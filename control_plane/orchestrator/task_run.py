"""A task's run, state by state: each handler does the one next thing and writes it down (DESIGN section 5)."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.store import BlobStore
from control_plane.db.base import new_id
from control_plane.orchestrator.base_runs import BaseRuns
from control_plane.orchestrator.children import RECHECK_S, Wanted, ensure_child
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.environment_runs import EnvironmentRuns, Prepared, Unpreparable
from control_plane.orchestrator.judging import Judging
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.policy import policy_from_json
from control_plane.orchestrator.specs import PATCH_BYTES, RESULT_BYTES, Draft, execute_draft
from control_plane.orchestrator.stages import StageEnd, Stages
from control_plane.orchestrator.verdicts import Verdicts
from control_plane.packets.models import Packet
from control_plane.repos.changes import Changes
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.repos.trees import Trees
from control_plane.runs.models import AgentSession, Run
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState, SessionStatus
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TaskStatus
from quality_gates.judge import judge
from quality_gates.model import Change, Environment, GatePolicy, Stage, StageEvidence, TaskReport, Verdict
from quality_gates.plan import plan
from runners import protocol
from runners.changes import CHANGES, PATCH, read_changes
from sandboxes.errors import SandboxStartFailed
from sandboxes.spec import Ended, Workspace

TERMINATE_GRACE_S = 10.0
_WHY = {
    Ended.OOM: "ran out of memory",
    Ended.DEADLINE: "did not end before its deadline",
    Ended.TERMINATED: "was terminated",
    Ended.QUOTA: "ran out of its quota",
    Ended.UNSCHEDULABLE: "could not be scheduled",
    Ended.IMAGE_MISSING: "has no image",
    Ended.LOST: "was lost by the engine",
    Ended.EVICTED: "was evicted",
    Ended.PREEMPTED: "was preempted",
}
_AGENTS_OWN = {Ended.COMPLETED, Ended.OOM, Ended.DEADLINE}
"""Ends that say something of the command; all others say something of the platform."""


NO_ENVIRONMENT = Environment(sha256="", image="", python="", own_pytest=False, pytest_plugins=())
"""For a change that no sandbox has to look at: it is empty, or dehydrate has refused it."""


_RUNNERS_CODES = {0, 124, 125, 143}
"""What PID 1 exits with (docs/runner.md). Code inside its namespace cannot kill it, so any other end came from outside."""


@dataclass(frozen=True, slots=True)
class Dehydrated:
    """What is left of an execution: the patch, the tree that it makes, and why there is none."""

    patch_sha256: str
    head_tree: str
    refused: tuple[str, ...]


class TaskRuns:
    """Drives runs of kind `task`."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        stages: Stages,
        judging: Judging,
        environments: EnvironmentRuns,
        bases: BaseRuns,
        blobs: BlobStore,
        mirrors: Mirrors,
        snapshots: Snapshots,
        changes: Changes,
        verdicts: Verdicts,
    ) -> None:
        self._sessions, self._stages, self._judging = sessions, stages, judging
        self._environments, self._bases, self._verdicts = environments, bases, verdicts
        self._blobs, self._mirrors, self._snapshots, self._changes = blobs, mirrors, snapshots, changes
        self._trees = Trees(mirrors)
        self._handlers: dict[RunState, Callable[[Run, Lease, asyncio.Event], Awaitable[Run | Again]]] = {
            RunState.QUEUED: self._queued,
            RunState.HYDRATING: self._hydrating,
            RunState.EXECUTING: self._executing,
            RunState.DEHYDRATING: self._dehydrating,
            RunState.VERIFYING: self._verifying,
        }

    async def step(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run | Again:
        """Do the next thing. A cancel is seen between two things, and at once where a sandbox lives."""
        wanted = run.cancel_requested_at is not None or cancelled.is_set()
        if wanted and run.state not in (RunState.EXECUTING, RunState.DEHYDRATING):
            return await self._move(run, lease, RunState.CANCELLED, cause="cancelled by request")
        return await self._handlers[run.state](run, lease, cancelled)

    async def _queued(self, run: Run, lease: Lease, _: asyncio.Event) -> Run:
        tree = await self._mirrors.tree_of(run.repo_id.hex, run.base_commit)
        async with self._sessions.begin() as session:
            moved = await move_run(session, run.id, RunState.HYDRATING, epoch=lease.epoch, changes={"base_tree": tree})
            await move_task(session, _task_of(run), TaskStatus.IN_PROGRESS)
        return moved

    async def _hydrating(self, run: Run, lease: Lease, _: asyncio.Event) -> Run | Again:
        """The base tree, and for a command the base's environment, so that it can run the project's tests."""
        await self._snapshots.ensure(run.repo_id.hex, run.base_commit)
        if run.driver["kind"] == "command":
            found = await self._environments.find(run, run.base_commit)
            if isinstance(found, Wanted):
                return await self._wait_for(found)
            if isinstance(found, Unpreparable):
                return await self._undecided(run, lease, Verdict.ERRORED, found.reason, {})
        return await self._move(run, lease, RunState.EXECUTING)

    async def _executing(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run:
        try:
            async with self._stopped_by(cancelled, lease):
                end = await self._stages.run(lease, await self._execute_draft(run))
        except SandboxStartFailed as refusal:
            return await self._lost(run, lease, f"the execution could not start: {refusal}", {})
        return await self._move(run, lease, RunState.DEHYDRATING, payload={"ended": end.outcome.ended.value})

    async def _execute_draft(self, run: Run) -> Draft:
        """The agent's sandbox; the same every time it is asked for."""
        environment = None
        if run.driver["kind"] == "command":
            found = await self._environments.find(run, run.base_commit)
            environment = found.tree if isinstance(found, Prepared) else None
        async with self._sessions() as session:
            packet = await session.scalar(select(Packet.document).where(Packet.id == run.packet_id))
        base = await self._snapshots.ensure(run.repo_id.hex, run.base_commit)
        return execute_draft(
            run=str(run.id),
            driver=run.driver,
            deadline_s=run.deadline_s,
            workspace=Workspace(base=base, against=f"{run.repo_id.hex}/{run.base_tree}"),
            environment=environment,
            packet=json.dumps(packet, sort_keys=True).encode(),
        )

    @asynccontextmanager
    async def _stopped_by(self, cancelled: asyncio.Event, lease: Lease) -> AsyncIterator[None]:
        """While the body waits for sandboxes, a cancel ends them; what they leave is still taken."""

        async def stop() -> None:
            await cancelled.wait()
            await self._stages.terminate(lease, TERMINATE_GRACE_S)

        stopper = asyncio.create_task(stop())
        try:
            yield
        finally:
            stopper.cancel()

    async def _dehydrating(self, run: Run, lease: Lease, _: asyncio.Event) -> Run:
        """The patch is made again from objects of our own: what is judged is what applies to base, exactly."""
        end = await self._stages.run(lease, await self._execute_draft(run))  # its end is on record: nothing is launched
        left = await self._dehydrated(run, end)
        why_not = await asyncio.to_thread(self._agents_failure, end)
        await self._record_session(run, end, succeeded=why_not is None)
        changes: dict[str, Any] = {"patch_sha256": left.patch_sha256, "head_tree": left.head_tree}
        if run.cancel_requested_at is not None or end.outcome.ended is Ended.TERMINATED:
            return await self._move(run, lease, RunState.CANCELLED, cause="cancelled by request", changes=changes)
        if end.outcome.ended not in _AGENTS_OWN:
            why = f"the execution {_WHY[end.outcome.ended]}: {end.outcome.detail}; queue the task again"
            return await self._lost(run, lease, why, changes)
        if end.outcome.ended is Ended.COMPLETED and end.outcome.exit_code not in _RUNNERS_CODES:
            why = f"the runner itself was ended from outside (exit code {end.outcome.exit_code}); queue the task again"
            return await self._lost(run, lease, why, changes)
        if why_not is not None:
            return await self._undecided(run, lease, Verdict.FAILED, why_not, changes)
        facts = {**run.facts, "refused": list(left.refused)}
        return await self._move(run, lease, RunState.VERIFYING, changes={**changes, "facts": facts})

    def _agents_failure(self, end: StageEnd) -> str | None:
        """Why the driver's own end makes judging pointless. Blocking. Its word is taken only against itself."""
        kept = "; its work in progress is kept as the run's patch"
        if end.outcome.ended is not Ended.COMPLETED:
            return f"the agent {_WHY[end.outcome.ended]}{kept}"
        artifact = end.outcome.outputs.get(protocol.RESULT)
        try:
            result = json.loads(self._blobs.read(artifact.sha256, RESULT_BYTES)) if artifact else {}
        except (ValueError, RecursionError):
            result = {}
        outcome, code = (result.get("outcome"), result.get("exit_code")) if isinstance(result, dict) else (None, None)
        if outcome == "exited" and code == 0 and end.outcome.exit_code == 0:
            return None
        if outcome is None:
            return f"the runner left no readable result (exit code {end.outcome.exit_code}){kept}"
        detail = str(result.get("detail", ""))[:500]
        return (
            f"the agent's command ended as {str(outcome)[:40]}, exit code {code}{': ' + detail if detail else ''}{kept}"
        )

    async def _dehydrated(self, run: Run, end: StageEnd) -> Dehydrated:
        listed, patch = end.outcome.collected.get(CHANGES), end.outcome.collected.get(PATCH)
        if listed is None or patch is None:
            nothing = await asyncio.to_thread(self._blobs.put_bytes, b"")
            why = "; ".join(f"{name}: {reason}" for name, reason in end.outcome.refused.items() if "collect" in name)
            return Dehydrated(
                nothing.sha256, str(run.base_tree), (why or "what the agent left could not be collected",)
            )
        told = await asyncio.to_thread(read_changes, self._blobs.path(listed.sha256))
        content = await asyncio.to_thread(self._blobs.read, patch.sha256, PATCH_BYTES)
        tree = await self._trees.apply_patch(run.repo_id.hex, run.base_commit, content)
        if told.tree is not None and told.tree != tree:  # a bug of ours; it must never be judged
            raise RuntimeError(f"patch {patch.sha256} makes tree {tree}, not {told.tree}")
        refused = tuple(f"{os.fsdecode(one.path)}: {one.reason}" for one in told.refused)
        return Dehydrated(patch.sha256, tree, refused)

    async def _record_session(self, run: Run, end: StageEnd, *, succeeded: bool) -> None:
        """The session's metrics (SPEC section 5.8) as the provider measured them; the first record stays."""
        took = end.ended_at - end.started_at
        row = {
            "id": new_id(),
            "run_id": run.id,
            "task_id": run.task_id,
            "execution_time_ms": max(0, round(took.total_seconds() * 1000)),
            "status": SessionStatus.SUCCESS if succeeded else SessionStatus.FAILURE,
        }
        async with self._sessions.begin() as session:
            await session.execute(insert(AgentSession).values(row).on_conflict_do_nothing())

    async def _verifying(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run | Again:
        """Judge the patch; what could not be decided is judged again, never executed again."""
        policy = policy_from_json(run.policy)
        change = await self._change(run)
        if change.refused_entries or not change.files:
            return await self._judged(run, lease, change, policy, NO_ENVIRONMENT, {})
        found = await self._environments.find(run, str(run.head_tree))
        if isinstance(found, Wanted):
            return await self._wait_for(found)
        if isinstance(found, Unpreparable):
            return await self._undecided(run, lease, Verdict.ERRORED, found.reason, {})
        base = await self._bases.find(run, found)
        child = await self._child(base) if isinstance(base, Wanted) else None  # it runs while ours do
        async with self._stopped_by(cancelled, lease):
            evidence = await self._judging.evidence(
                lease,
                plan(change, policy, found.facts),
                repo_id=run.repo_id,
                base_commit=run.base_commit,
                head_tree=str(run.head_tree),
                environment=found.tree,
                attempt=run.judge_attempt,
            )
        if cancelled.is_set():
            return await self._move(run, lease, RunState.CANCELLED, cause="cancelled by request")
        if isinstance(base, Wanted):
            base = await self._bases.find(run, found, child)
        if isinstance(base, Wanted):
            return Again(RECHECK_S, waiting_for=child)
        return await self._judged(run, lease, change, policy, found.facts, {**base, **evidence}, found.id)

    async def _change(self, run: Run) -> Change:
        change = await self._changes.change(run.repo_id.hex, run.base_commit, str(run.head_tree), str(run.patch_sha256))
        return replace(change, refused_entries=tuple(run.facts.get("refused", ())))

    async def _judged(
        self,
        run: Run,
        lease: Lease,
        change: Change,
        policy: GatePolicy,
        environment: Environment,
        evidence: Mapping[Stage, StageEvidence],
        environment_id: UUID | None = None,
    ) -> Run:
        image = self._stages.image
        report = await asyncio.to_thread(judge, change, policy, environment, image, evidence)
        return await self._verdicts.record(run, lease, report, environment_id=environment_id)

    async def _undecided(self, run: Run, lease: Lease, verdict: Verdict, why: str, changes: Mapping[str, Any]) -> Run:
        """End with a verdict that needed no judge, and still with a report that says why."""
        report = TaskReport(
            verdict=verdict,
            gates=(),
            base_commit=run.base_commit,
            patch_sha256=str(changes.get("patch_sha256") or run.patch_sha256 or ""),
            image=self._stages.image,
            environment_sha256="",
            policy=policy_from_json(run.policy),
            notes=(why,),
        )
        return await self._verdicts.record(run, lease, report, cause=why, changes=changes, final=True)

    async def _wait_for(self, wanted: Wanted) -> Again:
        return Again(RECHECK_S, waiting_for=await self._child(wanted))

    async def _child(self, wanted: Wanted) -> UUID:
        async with self._sessions.begin() as session:
            return await ensure_child(session, wanted)

    async def _lost(self, run: Run, lease: Lease, why: str, changes: Mapping[str, Any]) -> Run:
        async with self._sessions.begin() as session:
            return await lose(session, run, epoch=lease.epoch, cause=why, changes=changes)

    async def _move(
        self,
        run: Run,
        lease: Lease,
        to: RunState,
        *,
        cause: str = "",
        changes: Mapping[str, Any] | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> Run:
        async with self._sessions.begin() as session:
            moved = await move_run(
                session, run.id, to, epoch=lease.epoch, cause=cause, changes=changes, payload=payload
            )
            if to is RunState.CANCELLED:
                await move_task(session, _task_of(run), TaskStatus.CANCELLED, cause=cause)
        return moved


def _task_of(run: Run) -> UUID:
    """The task of a run of kind `task`; the database refuses such a run without one."""
    if run.task_id is None:
        raise ValueError(f"run {run.id} has no task")
    return run.task_id

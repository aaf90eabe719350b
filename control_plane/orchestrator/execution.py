"""From QUEUED to DEHYDRATING: the agent's own sandbox, and the patch that is all that is left of it (DESIGN section 5)."""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.orchestrator.children import Wanted
from control_plane.orchestrator.environment_runs import EnvironmentRuns, Prepared, Unpreparable
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.specs import (
    EXECUTE,
    PATCH_BYTES,
    RESULT_BYTES,
    Draft,
    execute_draft,
)
from control_plane.orchestrator.stages import StageEnd, Stages
from control_plane.orchestrator.task_moves import TaskMoves
from control_plane.packets.models import Packet
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.repos.trees import PatchDoesNotApply, Trees
from control_plane.runs.models import AgentSession, Run
from control_plane.runs.rules import RunState, SessionStatus
from quality_gates.model import Verdict
from runners import protocol
from runners.changes import CHANGES, PATCH, changes_from_json
from sandboxes.errors import SandboxStartFailed
from sandboxes.spec import Against, Ended, Workspace

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


_RUNNERS_CODES = {0, 124, 125, 143}
"""What PID 1 exits with (docs/runner.md).

Code inside its namespace cannot kill it, so any other end came from outside.
"""


@dataclass(frozen=True, slots=True)
class Dehydrated:
    """What is left of an execution: the patch, the tree that it makes, and why there is none."""

    patch_sha256: str
    head_tree: str
    refused: tuple[str, ...]


class Execution:
    """The first four states of a task's run."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        stages: Stages,
        moves: TaskMoves,
        environments: EnvironmentRuns,
        blobs: Blobs,
        mirrors: Mirrors,
        snapshots: Snapshots,
    ) -> None:
        self._sessions, self._stages, self._moves, self._environments = (
            sessions,
            stages,
            moves,
            environments,
        )
        self._blobs, self._mirrors, self._snapshots, self._trees = (
            blobs,
            mirrors,
            snapshots,
            Trees(mirrors),
        )

    async def queued(self, run: Run, lease: Lease, _: asyncio.Event) -> Run:
        """Somebody works on the task from now on."""
        tree = await self._mirrors.tree_of(run.repo_id.hex, run.base_commit)
        return await self._moves.move(run, lease, RunState.HYDRATING, changes={"base_tree": tree})

    async def hydrating(self, run: Run, lease: Lease, _: asyncio.Event) -> Run | Again:
        """The base tree, and for a command the base's environment, so that it can run the project's tests."""
        await self._snapshots.ensure(run.repo_id, run.base_commit)
        if run.driver["kind"] == "command":
            found = await self._environments.find(run, run.base_commit)
            if isinstance(found, Wanted):
                return await self._moves.wait_for(found)
            if isinstance(found, Unpreparable):
                return await self._moves.undecided(run, lease, Verdict.ERRORED, found.reason)
        return await self._moves.move(run, lease, RunState.EXECUTING)

    async def executing(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run:
        """The sandbox, from its launch to its end.

        After a restart it is found again by its name.
        """
        try:
            async with self._stages.stopped_by(cancelled, lease):
                end = await self._stages.run(lease, await self._execute_draft(run))
        except SandboxStartFailed as refusal:
            return await self._moves.lose(run, lease, f"the execution could not start: {refusal}")
        return await self._moves.move(
            run, lease, RunState.DEHYDRATING, payload={"ended": end.outcome.ended.value}
        )

    async def _execute_draft(self, run: Run) -> Draft:
        """The agent's sandbox; the same every time it is asked for."""
        environment: tuple[str, ...] = ()
        if run.driver["kind"] == "command":
            found = await self._environments.find(run, run.base_commit)
            environment = found.layers if isinstance(found, Prepared) else ()
        async with self._sessions() as session:
            packet = await session.scalar(select(Packet.document).where(Packet.id == run.packet_id))
        base = await self._snapshots.ensure(run.repo_id, run.base_commit)
        return execute_draft(
            run=str(run.id),
            driver=run.driver,
            deadline_s=run.deadline_s,
            workspace=Workspace(base=base, against=Against.BASE),
            environment=environment,
            packet=json.dumps(packet, sort_keys=True).encode(),
        )

    async def dehydrating(self, run: Run, lease: Lease, _: asyncio.Event) -> Run:
        """The patch is made again from objects of our own: what is judged is what applies to base, exactly."""
        end = await self._stages.end_of(lease, EXECUTE)
        left = await self._dehydrated(run, end)
        why_not = await self._agents_failure(end)
        await self._record_session(run, end, succeeded=why_not is None)
        changes: dict[str, Any] = {"patch_sha256": left.patch_sha256, "head_tree": left.head_tree}
        if run.cancel_requested_at is not None or end.outcome.ended is Ended.TERMINATED:
            return await self._moves.move(
                run, lease, RunState.CANCELLED, cause="cancelled by request", changes=changes
            )
        if end.outcome.ended not in _AGENTS_OWN:
            why = f"the execution {_WHY[end.outcome.ended]}: {end.outcome.detail}; queue the task again"
            return await self._moves.lose(run, lease, why, changes)
        if end.outcome.ended is Ended.COMPLETED and end.outcome.exit_code not in _RUNNERS_CODES:
            why = f"the runner itself was ended from outside (exit code {end.outcome.exit_code}); queue the task again"
            return await self._moves.lose(run, lease, why, changes)
        if why_not is not None:
            return await self._moves.undecided(run, lease, Verdict.FAILED, why_not, changes)
        facts = {**run.facts, "refused": list(left.refused)}
        return await self._moves.move(
            run, lease, RunState.VERIFYING, changes={**changes, "facts": facts}
        )

    async def _agents_failure(self, end: StageEnd) -> str | None:
        """Why the driver's own end makes judging pointless.

        Its word is taken only against itself.
        """
        kept = "; its work in progress is kept as the run's patch"
        if end.outcome.ended is not Ended.COMPLETED:
            return f"the agent {_WHY[end.outcome.ended]}{kept}"
        artifact = end.outcome.outputs.get(protocol.RESULT)
        try:
            told = await self._blobs.read(artifact.sha256, RESULT_BYTES) if artifact else b"{}"
            result = json.loads(told)
        except (ValueError, RecursionError):
            result = {}
        outcome, code = (
            (result.get("outcome"), result.get("exit_code"))
            if isinstance(result, dict)
            else (None, None)
        )
        if outcome == "exited" and code == 0 and end.outcome.exit_code == 0:
            return None
        if outcome is None:
            return f"the runner left no readable result (exit code {end.outcome.exit_code}){kept}"
        detail = str(result.get("detail", ""))[:500]
        return f"the agent's command ended as {str(outcome)[:40]}, exit code {code}{': ' + detail if detail else ''}{kept}"

    async def _dehydrated(self, run: Run, end: StageEnd) -> Dehydrated:
        listed, patch = end.outcome.collected.get(CHANGES), end.outcome.collected.get(PATCH)
        if listed is None or patch is None:
            nothing = await self._blobs.put(b"")
            why = "; ".join(
                f"{name}: {reason}"
                for name, reason in end.outcome.refused.items()
                if "collect" in name
            )
            return Dehydrated(
                nothing.sha256,
                str(run.base_tree),
                (why or "what the agent left could not be collected",),
            )
        told = changes_from_json(await self._blobs.read(listed.sha256, PATCH_BYTES))
        content = await self._blobs.read(patch.sha256, PATCH_BYTES)
        tree = await self._trees.apply_patch(run.repo_id.hex, run.base_commit, content)
        if told.tree is not None and told.tree != tree:  # a bug of ours; it must never be judged
            raise RuntimeError(f"patch {patch.sha256} makes tree {tree}, not {told.tree}")
        refused = tuple(
            f"{os.fsdecode(one.path) or 'the change'}: {one.reason}" for one in told.refused
        )
        if run.driver["kind"] == "patch" and not refused:
            refused = await self._left_out(run, tree)
        return Dehydrated(patch.sha256, tree, refused)

    async def _left_out(self, run: Run, tree: str) -> tuple[str, ...]:
        """What a given patch holds and the sandbox's tree does not: of something else than was given, no verdict is of use."""
        repo = run.repo_id.hex
        given = await self._blobs.read(run.driver["sha256"], PATCH_BYTES)
        try:
            wanted = await self._trees.apply_patch(repo, run.base_commit, given)
        except PatchDoesNotApply as problem:
            return (f"the patch: {problem}",)
        missing = await self._trees.differences(repo, wanted, tree) if wanted != tree else []
        why = "the patch has it, and it cannot be judged (ignored by the base's .gitignore, a submodule, or litter of tools); take it out"
        return tuple(f"{os.fsdecode(one.path)}: {why}" for one in missing[:100])

    async def _record_session(self, run: Run, end: StageEnd, *, succeeded: bool) -> None:
        """The session's metrics (SPEC section 5.8) as the provider measured them.

        The first record stays.
        """
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

"""What any handler of a task's run may do to it: move it, lose it, end it without a judge, or have it wait for another run."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.orchestrator.children import RECHECK_S, Wanted, ensure_child
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.verdicts import Verdicts
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run
from control_plane.runs.policy import policy_from_json
from control_plane.runs.rules import RunState
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TaskStatus
from quality_gates.model import TaskReport, Verdict

_TASK_GOES_TO = {
    RunState.HYDRATING: TaskStatus.IN_PROGRESS,
    RunState.CANCELLED: TaskStatus.CANCELLED,
}


class TaskMoves:
    """Each method is one transaction, under the lease."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], verdicts: Verdicts, image: str
    ) -> None:
        self._sessions, self._verdicts, self._image = sessions, verdicts, image

    async def move(
        self,
        run: Run,
        lease: Lease,
        to: RunState,
        *,
        cause: str = "",
        changes: Mapping[str, Any] | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> Run:
        """Move the run, and its task with it where the task's status says the same."""
        async with self._sessions.begin() as session:
            moved = await move_run(
                session,
                run.id,
                to,
                epoch=lease.epoch,
                cause=cause,
                changes=changes,
                payload=payload,
            )
            if to in _TASK_GOES_TO and run.task_id is not None:
                await move_task(session, run.task_id, _TASK_GOES_TO[to], cause=cause)
        return moved

    async def lose(
        self, run: Run, lease: Lease, why: str, changes: Mapping[str, Any] | None = None
    ) -> Run:
        """End the run by the platform's fault."""
        async with self._sessions.begin() as session:
            return await lose(session, run, epoch=lease.epoch, cause=why, changes=changes)

    async def undecided(
        self,
        run: Run,
        lease: Lease,
        verdict: Verdict,
        why: str,
        changes: Mapping[str, Any] | None = None,
    ) -> Run:
        """End with a verdict that needed no judge, and still with a report that says why."""
        changes = changes or {}
        report = TaskReport(
            verdict=verdict,
            gates=(),
            base_commit=run.base_commit,
            patch_sha256=str(changes.get("patch_sha256") or run.patch_sha256 or ""),
            image=self._image,
            environment_sha256="",
            policy=policy_from_json(run.policy),
            notes=(why,),
        )
        return await self._verdicts.record(
            run, lease, report, cause=why, changes=changes, final=True
        )

    async def wait_for(self, wanted: Wanted) -> Again:
        """Look again when the shared run that is wanted has ended.

        It is made if it is not there.
        """
        return Again(RECHECK_S, waiting_for=await self.child(wanted))

    async def child(self, wanted: Wanted) -> UUID:
        """The shared run that is wanted, made if it is not there."""
        async with self._sessions.begin() as session:
            return await ensure_child(session, wanted)

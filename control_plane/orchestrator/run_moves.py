"""What any handler of a run may do to it: move it, lose it, or have it wait for a shared run."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.orchestrator.children import RECHECK_S, Wanted, ensure_child, wake_parents
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.lease import Again, Lease
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run
from control_plane.runs.rules import TERMINAL, RunState
from control_plane.tasks.models import Task
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TERMINAL as TASK_ENDED
from control_plane.tasks.rules import TaskStatus, legal

BY_REQUEST = "cancelled by request"


class RunMoves:
    """Each method is one transaction, under the lease."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def begin(self, run: Run, lease: Lease) -> Run:
        """Somebody works on the run's task from now on, unless that has ended meanwhile."""
        async with self._sessions.begin() as session:
            await lease.check(session)
            status = await _status(session, run.task_id)
            if status in TASK_ENDED:
                cause = f"its task is {status}"
                return await move_run(
                    session, run.id, RunState.CANCELLED, epoch=lease.epoch, cause=cause
                )
            moved = await move_run(session, run.id, RunState.HYDRATING, epoch=lease.epoch)
            # A task that waits for its review stays there while a person has it judged once more.
            if run.task_id is not None and status is not TaskStatus.READY_FOR_REVIEW:
                await _task_goes(session, run.task_id, status, TaskStatus.IN_PROGRESS)
        return moved

    async def move(
        self,
        run: Run,
        lease: Lease,
        to: RunState,
        *,
        payload: Mapping[str, Any] | None = None,
    ) -> Run:
        """Move the run; who waits for it is woken if that is its end."""
        async with self._sessions.begin() as session:
            moved = await move_run(session, run.id, to, epoch=lease.epoch, payload=payload)
            if to in TERMINAL:
                await wake_parents(session, run.id)
        return moved

    async def cancel(self, run: Run, lease: Lease) -> Run:
        """End the run, and its task with it, as somebody has asked for."""
        async with self._sessions.begin() as session:
            return await cancel_run(session, run, epoch=lease.epoch)

    async def lose(self, run: Run, lease: Lease, why: str) -> Run:
        """End the run by the platform's fault."""
        async with self._sessions.begin() as session:
            return await lose(session, run, epoch=lease.epoch, cause=why)

    async def wait_for(self, lease: Lease, wanted: Wanted) -> Again:
        """Look again when the shared run that is wanted has ended."""
        return Again(RECHECK_S, waiting_for=await self.want(lease, wanted))

    async def want(self, lease: Lease, wanted: Wanted) -> UUID:
        """The shared run that is wanted, made if it is not there, and noted in our own row.

        In one transaction: whoever comes next finds the same one, ended or not.
        """
        async with self._sessions.begin() as session:
            run = await lease.check(session)
            run.waiting_for = await ensure_child(session, wanted)
            return run.waiting_for


async def cancel_run(session: AsyncSession, run: Run, *, epoch: int) -> Run:
    """The run and its task end as cancelled, in the caller's transaction."""
    moved = await move_run(session, run.id, RunState.CANCELLED, epoch=epoch, cause=BY_REQUEST)
    if run.task_id is not None:
        status = await _status(session, run.task_id)
        await _task_goes(session, run.task_id, status, TaskStatus.CANCELLED, cause=BY_REQUEST)
    await wake_parents(session, run.id)
    return moved


async def _status(session: AsyncSession, task_id: UUID | None) -> TaskStatus | None:
    """The task's status under its lock. The run's lock is held already: that is the order."""
    if task_id is None:
        return None
    task = await session.get_one(
        Task, task_id, with_for_update={"key_share": True}, populate_existing=True
    )
    return task.status


async def _task_goes(
    session: AsyncSession,
    task_id: UUID,
    from_: TaskStatus | None,
    to: TaskStatus,
    *,
    cause: str = "",
) -> None:
    if from_ is not to and from_ is not None and legal(from_, to):
        await move_task(session, task_id, to, cause=cause)

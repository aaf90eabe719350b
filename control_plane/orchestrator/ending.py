"""Ends that are nobody's verdict: the run is lost, its task goes back to the queue."""

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.orchestrator.children import wake_parents
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState
from control_plane.tasks.models import Task
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TaskStatus


async def lose(session: AsyncSession, run: Run, *, epoch: int | None, cause: str) -> Run:
    """Mark the run LOST with its cause, in the caller's transaction. It counts against no agent.

    Who waited for it is woken.
    """
    moved = await move_run(session, run.id, RunState.LOST, epoch=epoch, cause=cause)
    if run.task_id is not None:
        task = await session.get_one(
            Task, run.task_id, with_for_update={"key_share": True}, populate_existing=True
        )
        # Elsewhere than in progress: the run had not begun, or was only to judge once more.
        if task.status is TaskStatus.IN_PROGRESS:
            await move_task(session, run.task_id, TaskStatus.QUEUED, cause=cause)
    await wake_parents(session, run.id)
    return moved

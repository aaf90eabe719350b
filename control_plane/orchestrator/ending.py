"""Ends that are nobody's verdict: the run is lost, its task goes back to the queue, and who waited for it is woken."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.orchestrator.children import wake_parents
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TaskStatus


async def lose(
    session: AsyncSession,
    run: Run,
    *,
    epoch: int | None,
    cause: str,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Mark the run LOST with its cause, in the caller's transaction. It counts against no agent."""
    moved = await move_run(
        session, run.id, RunState.LOST, epoch=epoch, cause=cause, changes=changes
    )
    if run.task_id is not None:
        started = run.state is not RunState.QUEUED
        if started:
            await move_task(session, run.task_id, TaskStatus.QUEUED, cause=cause)
    await wake_parents(session, run.id)
    return moved

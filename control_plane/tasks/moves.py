"""The only way a task's status changes: legal move, row and audit line in one transaction."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.audit.service import append_line
from control_plane.db.finding import NotFound
from control_plane.runs.errors import IllegalMove
from control_plane.tasks.models import Task
from control_plane.tasks.rules import TaskStatus, VerdictEffect, legal

_OURS = frozenset({"id", "key", "status", "retry_count", "created_at", "updated_at"})


async def move_task(
    session: AsyncSession,
    task_id: UUID,
    to: TaskStatus,
    *,
    cause: str = "",
    rejected: bool = False,
    changes: Mapping[str, Any] | None = None,
    actor: str = "orchestrator",
) -> Task:
    """Move the task to `to`. `rejected`: it counts against the agent, `retry_count` grows by one.

    In a transaction that moves the task's run too, move the run first: that is the order of locks.

    Raises:
        NotFound: there is no such task.
        IllegalMove: its status does not allow it.
    """
    statement = select(Task).where(Task.id == task_id).with_for_update(key_share=True)
    task = await session.scalar(statement, execution_options={"populate_existing": True})
    if task is None:
        raise NotFound("task", task_id)
    if not legal(task.status, to):
        raise IllegalMove("task", task_id, task.status, to)
    facts = {"from": task.status.value, "to": to.value, "cause": cause}
    columns = inspect(Task).columns.keys()
    for name, value in (changes or {}).items():
        if name in _OURS or name not in columns:
            raise TypeError(f"tasks.{name} is not changed this way")
        setattr(task, name, value)
    task.status = to
    task.retry_count += int(rejected)
    task.updated_at = func.clock_timestamp()
    await session.flush()
    await append_line(
        session,
        chain=task_id,
        actor=actor,
        action="task.move",
        subject=f"task:{task_id}",
        facts={**facts, "retry_count": task.retry_count},
    )
    await session.refresh(task)
    return task


async def apply_effect(
    session: AsyncSession, task_id: UUID, effect: VerdictEffect, *, cause: str
) -> Task | None:
    """Do to the task what `tasks.rules.effect_of` said; None: it stays where it is."""
    if effect.status is None:
        return None
    task = await session.get_one(
        Task, task_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if task.status is effect.status:  # judged once more, with the same result
        return task
    return await move_task(
        session, task_id, effect.status, cause=cause, rejected=effect.counts_as_retry
    )

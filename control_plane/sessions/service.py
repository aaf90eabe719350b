"""Queueing and cancelling sessions."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.base import new_id
from control_plane.db.finding import NotFound
from control_plane.runs.errors import IllegalMove
from control_plane.runs.models import Run
from control_plane.runs.moves import ask_to_stop, queue_run
from control_plane.runs.rules import RunKind, RunState
from control_plane.sessions.drivers import Driver, Product, driver_to_json, kind
from control_plane.sessions.errors import PartOfTask
from control_plane.sessions.models import AgentSession


async def queue_session(
    session: AsyncSession,
    *,
    repo_id: UUID,
    base_commit: str,
    deadline_s: float,
    driver: Driver,
    task_id: UUID | None = None,
    packet_id: UUID | None = None,
    output_schema: Mapping[str, Any] | None = None,
) -> UUID:
    """Queue the run of a session, in the caller's transaction.

    With an `output_schema` its product is a document that satisfies it, else a patch.

    Raises:
        ValueError: this kind of driver does not make such a product.
    """
    product = Product.PATCH if output_schema is None else Product.DOCUMENT
    if product not in kind(driver).products:
        raise ValueError(f"a driver of kind {driver_to_json(driver)['kind']} makes no {product}")
    run = Run(
        id=new_id(),
        kind=RunKind.SESSION,
        task_id=task_id,
        repo_id=repo_id,
        base_commit=base_commit,
        deadline_s=deadline_s,
    )
    await queue_run(session, run)
    schema = dict(output_schema) if output_schema is not None else None
    session.add(
        AgentSession(
            run_id=run.id, packet_id=packet_id, driver=driver_to_json(driver), output_schema=schema
        )
    )
    await session.flush()
    return run.id


async def cancel(session: AsyncSession, run_id: UUID, by: str) -> Run:
    """Ask for the end of a session that has no task. Twice is harmless.

    Raises:
        NotFound: no such session.
        PartOfTask: its task is what can be cancelled.
        IllegalMove: it has ended otherwise.
    """
    if await session.get(AgentSession, run_id) is None:
        raise NotFound("session", run_id)
    run = await session.get_one(Run, run_id)
    if run.task_id is not None:
        raise PartOfTask(run_id, run.task_id)
    if not await ask_to_stop(session, run_id, by):
        await session.refresh(run)
        if run.state is not RunState.CANCELLED:
            raise IllegalMove("session", run_id, run.state, RunState.CANCELLED)
    return run

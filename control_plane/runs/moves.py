"""The only way a run changes: a legal move under the right epoch.

Row, audit line and event are written in the caller's one transaction.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import column, func, inspect, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.audit.service import append_line
from control_plane.db.finding import NotFound
from control_plane.db.storable import storable_facts, storable_text
from control_plane.runs.errors import IllegalMove, LeaseLost
from control_plane.runs.leases import notify, wake
from control_plane.runs.models import Run, RunEvent
from control_plane.runs.rules import TERMINAL, RunState, legal

STATE_CHANGED = "state"
"""The kind of the event that `move_run` writes."""
BEGUN_AGAIN = "begun_again"
"""The kind of the event that `begin_again` writes."""
CANCEL_REQUESTED = "cancel.requested"
"""The kind of the event that `ask_to_stop` writes."""
PLATFORM_ACTOR = "orchestrator"
_TASKS = table("tasks", column("id"))
"""By name, as the foreign key names it: the room of tasks stands above this one."""
_OURS = frozenset(
    {"id", "kind", "state", "created_at", "event_seq", "claims", "holders"}
    | {"lease_epoch", "lease_owner", "site_id", "lease_until"}
)


async def move_run(
    session: AsyncSession,
    run_id: UUID,
    to: RunState,
    *,
    epoch: int | None,
    cause: str = "",
    changes: Mapping[str, Any] | None = None,
    payload: Mapping[str, Any] | None = None,
    actor: str = PLATFORM_ACTOR,
) -> Run:
    """Move the run to `to`, with `changes` to other columns and `payload` in the event.

    `epoch` is that of the caller's lease; None is for what needs no lease (a person's cancel, the
    reaper's LOST). A run that ends gives its lease back.

    Raises:
        NotFound: there is no such run.
        LeaseLost: the run has passed to another worker.
        IllegalMove: its state does not allow it.
    """
    run = await _locked(session, run_id, epoch)
    from_ = run.state
    if not legal(run.kind, from_, to):
        raise IllegalMove("run", run_id, from_, to)
    _apply(run, changes or {})
    run.state = to
    run.cause = storable_text(cause) or run.cause
    if from_ is RunState.QUEUED:
        run.started_at = func.clock_timestamp()
    if to in TERMINAL:
        run.finished_at = func.clock_timestamp()
        run.lease_owner = run.lease_until = None
    own = 1 if run.lease_owner is not None else 0  # the holder's, in the new state
    run.claims = run.holders = own
    facts = {"from": from_.value, "to": to.value, "cause": cause, **(payload or {})}
    if run.verdict is not None:
        facts.setdefault("verdict", run.verdict.value)
    await _record(session, run, STATE_CHANGED, facts)
    await append_line(
        session,
        chain=run.task_id or run.id,
        actor=actor,
        action="run.move",
        subject=f"run:{run.id}",
        facts=facts,
    )
    return await _fresh(session, run)


async def begin_again(session: AsyncSession, run_id: UUID, *, cause: str) -> Run:
    """Give a run that its site has left to any other: whoever held it is fenced off.

    What it has on record stays; a sandbox under way is launched again under the next number.
    Raises NotFound.
    """
    run = await _locked(session, run_id, None)
    run.site_id, run.lease_epoch = None, run.lease_epoch + 1
    run.lease_owner = run.lease_until = None
    run.next_action_at = func.clock_timestamp()
    await _record(session, run, BEGUN_AGAIN, {"cause": cause})
    await append_line(
        session,
        chain=run.task_id or run.id,
        actor=PLATFORM_ACTOR,
        action="run.begin_again",
        subject=f"run:{run.id}",
        facts={"cause": cause},
    )
    return await _fresh(session, run)


async def update_run(
    session: AsyncSession,
    run_id: UUID,
    *,
    epoch: int | None,
    changes: Mapping[str, Any],
    event: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> Run:
    """Change columns without moving the run, and say so with an event if `event` names one.

    Raises as `move_run`.
    """
    run = await _locked(session, run_id, epoch)
    _apply(run, changes)
    if event is not None:
        await _record(session, run, event, payload or {})
    await session.flush()
    return await _fresh(session, run)


async def queue_run(session: AsyncSession, run: Run) -> None:
    """Put a new run into the queue; the row of its half follows in the same transaction."""
    session.add(run)
    await session.flush()
    task = None if run.task_id is None else str(run.task_id)
    await append_event(session, run.id, "queued", {"run": run.kind, "task": task})


async def ask_to_stop(session: AsyncSession, run_id: UUID, by: str) -> bool:
    """Whether the run is live under its lock, and so will see the request. Twice is harmless.

    False: it has ended. Raises NotFound.
    """
    run = await _locked(session, run_id, None)
    if run.state in TERMINAL:
        return False
    if run.cancel_requested_at is None:
        changes = {"cancel_requested_at": datetime.now(UTC)}
        payload = {"by": by}
        await update_run(
            session, run_id, epoch=None, changes=changes, event=CANCEL_REQUESTED, payload=payload
        )
        await wake(session, run_id)
    return True


async def append_event(
    session: AsyncSession, run_id: UUID, kind: str, payload: Mapping[str, Any] | None = None
) -> int:
    """Add the run's next event and return its number. Holds the run's row until the commit."""
    run = await _locked(session, run_id, None)
    await _record(session, run, kind, payload or {})
    return run.event_seq


async def _locked(session: AsyncSession, run_id: UUID, epoch: int | None) -> Run:
    """The run under its row lock, then its task's.

    Always in this order, and before the audit chain.
    """
    statement = select(Run).where(Run.id == run_id).with_for_update(key_share=True)
    run = await session.scalar(statement, execution_options={"populate_existing": True})
    if run is None:
        raise NotFound("run", run_id)
    if epoch is not None and (run.lease_epoch != epoch or run.lease_owner is None):
        raise LeaseLost(run_id)
    if run.task_id is not None:
        await session.execute(
            select(_TASKS.c.id).where(_TASKS.c.id == run.task_id).with_for_update(key_share=True)
        )
    return run


def _apply(run: Run, changes: Mapping[str, Any]) -> None:
    columns = inspect(Run).columns.keys()
    for name, value in changes.items():
        if name in _OURS or name not in columns:
            raise TypeError(f"runs.{name} is not changed this way")
        setattr(
            run,
            name,
            storable_text(value)
            if isinstance(value, str) and not isinstance(value, Enum)
            else value,
        )


async def _record(session: AsyncSession, run: Run, kind: str, payload: Mapping[str, Any]) -> None:
    run.event_seq += 1
    session.add(
        RunEvent(run_id=run.id, seq=run.event_seq, kind=kind, payload=storable_facts(payload))
    )
    await session.flush()
    await notify(session, run.id)


async def _fresh(session: AsyncSession, run: Run) -> Run:
    await session.refresh(run)  # times were set by the database
    return run

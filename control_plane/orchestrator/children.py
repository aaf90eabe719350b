"""Runs that other runs wait for: one `prepare` or `base` at a time per cache key, shared by all."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.base import new_id
from control_plane.runs.models import IS_LIVE, Run, SharedRun
from control_plane.runs.rules import TERMINAL, RunKind, RunState

RECHECK_S = 5.0
"""A waiting run is woken when its child ends; this is for a wake-up that was missed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A shared run as it is asked for."""

    kind: RunKind
    cache_key: str
    repo_id: UUID
    base_commit: str
    deadline_s: float
    judged: str | None = None
    """`prepare`: the tree whose dependency list is installed."""
    environment_id: UUID | None = None
    policy: dict[str, Any] | None = None
    last_ended: UUID | None = None
    """Of this key, before the cache was looked at (`last_ended`)."""


async def last_ended(session: AsyncSession, kind: RunKind, cache_key: str) -> UUID | None:
    """The run of this key that ended last. Who asks a cache asks this first."""
    ended = select(Run.id).where(
        Run.kind == kind, Run.cache_key == cache_key, Run.state.in_(TERMINAL)
    )
    found: UUID | None = await session.scalar(
        ended.order_by(Run.finished_at.desc(), Run.id.desc()).limit(1)
    )
    return found


async def ensure_child(session: AsyncSession, wanted: Wanted) -> UUID:
    """The run for this key: the live one, one that has ended since the cache was looked at, or new.

    Two callers at once get the same one. Who gets one that has ended looks again, and finds it.
    """
    live = select(Run.id).where(
        Run.kind == wanted.kind, Run.cache_key == wanted.cache_key, Run.state.not_in(TERMINAL)
    )
    while True:
        if (found := await session.scalar(live)) is not None:
            return found
        async with session.begin_nested() as attempt:
            made = await _made(session, wanted)
            # Now that ours lives no other can: what has ended by now is all that there was.
            ended = await last_ended(session, wanted.kind, wanted.cache_key)
            if ended == wanted.last_ended and made is not None:
                return made
            await attempt.rollback()
        if ended is not None and ended != wanted.last_ended:
            return ended


async def _made(session: AsyncSession, wanted: Wanted) -> UUID | None:
    new = (
        insert(Run)
        .values(
            id=new_id(),
            kind=wanted.kind,
            cache_key=wanted.cache_key,
            repo_id=wanted.repo_id,
            base_commit=wanted.base_commit,
            deadline_s=wanted.deadline_s,
            state=RunState.QUEUED,
        )
        .on_conflict_do_nothing(index_elements=["kind", "cache_key"], index_where=text(IS_LIVE))
        .returning(Run.id)
    )
    run_id: UUID | None = await session.scalar(new)
    if run_id is not None:
        asked = {
            "judged": wanted.judged,
            "environment_id": wanted.environment_id,
            "policy": wanted.policy,
        }
        session.add(SharedRun(run_id=run_id, **asked))
        await session.flush()
    return run_id


async def wake_parents(session: AsyncSession, child: UUID) -> None:
    """Runs that wait for `child` may be looked at now. Called in the transaction that ends it."""
    waiting = update(Run).where(Run.waiting_for == child, Run.state.not_in(TERMINAL))
    await session.execute(waiting.values(next_action_at=func.now()))

"""Runs that other runs wait for: one `prepare` or `base` at a time per cache key, shared by all who want it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.base import new_id
from control_plane.runs.models import IS_LIVE, Run
from control_plane.runs.rules import TERMINAL, RunKind, RunState

WAITING_FOR = "waiting_for"
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
    driver: dict[str, Any]
    policy: dict[str, Any]
    options: dict[str, Any]


async def ensure_child(session: AsyncSession, wanted: Wanted) -> UUID:
    """The live run for this key, made if there is none. Two callers at once get the same one."""
    live = select(Run.id).where(
        Run.kind == wanted.kind, Run.cache_key == wanted.cache_key, Run.state.not_in(TERMINAL)
    )
    new = (
        insert(Run)
        .values(
            id=new_id(),
            kind=wanted.kind,
            cache_key=wanted.cache_key,
            repo_id=wanted.repo_id,
            base_commit=wanted.base_commit,
            deadline_s=wanted.deadline_s,
            driver=wanted.driver,
            policy=wanted.policy,
            options=wanted.options,
            facts={},
            state=RunState.QUEUED,
        )
        .on_conflict_do_nothing(index_elements=["kind", "cache_key"], index_where=text(IS_LIVE))
        .returning(Run.id)
    )
    return (
        await session.scalar(live)
        or await session.scalar(new)
        or (await session.scalars(live)).one()
    )


async def wake_parents(session: AsyncSession, child: UUID) -> None:
    """Runs that wait for `child` may be looked at now. Called in the transaction that ends it."""
    waiting = update(Run).where(
        Run.facts[WAITING_FOR].astext == str(child), Run.state.not_in(TERMINAL)
    )
    await session.execute(waiting.values(next_action_at=func.now()))

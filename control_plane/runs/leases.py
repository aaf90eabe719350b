"""Who may act on a run, and until when.

The runs table is the queue; only the database's clock counts.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Update, case, exists, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from control_plane import wake as wake_hub
from control_plane.runs.errors import LeaseLost
from control_plane.runs.models import IS_LIVE, Run, Sandbox
from control_plane.runs.rules import LIVE, SandboxState

SUSPECT = 4
"""A run that is claimed so often without any progress may kill its holders.

A holder drives one such at a time: those that were held beside the one that kills go on alone.
"""


async def claim_next(
    session: AsyncSession, owner: str, lease_s: float, site: UUID | None = None
) -> Run | None:
    """Take the run that has waited longest for its next action, under a new epoch.

    None: nothing to do. A run that a site has begun is for that site alone; `site` is the caller's.
    While the caller holds a suspect, other suspects wait.

    Every write of the epoch before is refused from now on.
    """
    held = aliased(Run)
    holds_a_suspect = exists().where(
        text(IS_LIVE),
        held.lease_owner == owner,
        held.lease_until >= _now(),
        held.claims >= SUSPECT,
    )
    candidate = (
        select(Run.id)
        .where(
            # The text of the index's own condition, so that the planner always sees that it fits.
            text(IS_LIVE),
            Run.next_action_at <= _now(),
            or_(Run.lease_until.is_(None), Run.lease_until < _now()),
            or_(Run.site_id.is_(None), Run.site_id == site),
            or_(Run.claims < SUSPECT - 1, ~holds_a_suspect),
        )
        .order_by(Run.next_action_at, Run.id)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    )
    # A CTE, as PostgreSQL may evaluate a plain subquery of an UPDATE more than once, and then lock
    # more than one row.
    chosen = candidate.cte("chosen").prefix_with("MATERIALIZED")
    claim = (
        update(Run)
        .where(Run.id == select(chosen.c.id).scalar_subquery())
        .values(
            lease_epoch=Run.lease_epoch + 1,
            lease_owner=owner,
            lease_until=_in(lease_s),
            claims=Run.claims + 1,
            holders=Run.holders + 1,
        )
        .returning(Run)
    )
    return (
        await session.scalars(claim, execution_options={"populate_existing": True})
    ).one_or_none()


async def renew(session: AsyncSession, run_id: UUID, epoch: int, lease_s: float) -> None:
    """Keep the lease for another `lease_s` seconds. Raises LeaseLost.

    Who holds it so long while a sandbox of the run lives is not killed by the run: the claims
    before count no more. An agent may work for hours, through many restarts. `holders` counts on:
    what a dead sandbox left is collected while its row still says that it lives, and may kill.
    """
    lives = exists().where(Sandbox.run_id == run_id, Sandbox.state == SandboxState.LAUNCHED)
    kept = _held(run_id, epoch).values(
        lease_until=_in(lease_s), claims=case((lives, 1), else_=Run.claims)
    )
    await _write(session, run_id, kept)


async def release(
    session: AsyncSession,
    run_id: UUID,
    epoch: int,
    next_action_in_s: float = 0.0,
    *,
    failed: bool = False,
) -> None:
    """Give the run back to the queue, to be looked at after `next_action_in_s` seconds.

    `failed`: the claim came to nothing and stays counted. Raises LeaseLost.
    """
    given_back = _held(run_id, epoch).values(
        lease_owner=None,
        lease_until=None,
        next_action_at=_in(next_action_in_s),
        claims=Run.claims if failed else func.greatest(Run.claims - 1, 0),
        holders=Run.holders if failed else func.greatest(Run.holders - 1, 0),
    )
    await _write(session, run_id, given_back)
    if next_action_in_s <= 0:
        await notify(session, run_id)


async def wake(session: AsyncSession, run_id: UUID) -> None:
    """Have the run looked at now, whoever holds it: what it may be waiting for has happened."""
    live = update(Run).where(Run.id == run_id, Run.state.in_(LIVE))
    await session.execute(
        live.values(next_action_at=_now()), execution_options={"synchronize_session": False}
    )
    await notify(session, run_id)


async def notify(session: AsyncSession, run_id: UUID) -> None:
    """Tell the hubs at commit."""
    await wake_hub.notify(session, wake_hub.RUNS, run_id)


def _now() -> ColumnElement[object]:
    # Not now(): that is the transaction's start. Not clock_timestamp(): volatile, so no index would
    # serve it.
    return func.statement_timestamp()


def _in(seconds: float) -> ColumnElement[object]:
    return func.statement_timestamp() + timedelta(seconds=seconds)


def _held(run_id: UUID, epoch: int) -> Update:
    return update(Run).where(
        Run.id == run_id, Run.lease_epoch == epoch, Run.lease_owner.is_not(None)
    )


async def _write(session: AsyncSession, run_id: UUID, statement: Update) -> None:
    options = {"populate_existing": True}
    if (
        await session.scalars(statement.returning(Run), execution_options=options)
    ).one_or_none() is None:
        raise LeaseLost(run_id)

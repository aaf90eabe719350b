"""The right to act on a run: an epoch that only its newest holder has (DESIGN section 4)."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.runs.errors import LeaseLost
from control_plane.runs.models import Run


@dataclass(frozen=True, slots=True)
class Lease:
    """Held by one worker on one run.

    Every write of that worker goes through `check` in its own transaction.
    """

    run_id: UUID
    epoch: int

    async def check(self, session: AsyncSession) -> Run:
        """Lock the run's row and return it.

        Raises LeaseLost if another worker has claimed the run since.
        """
        run = await session.scalar(
            select(Run)
            .where(Run.id == self.run_id, Run.lease_epoch == self.epoch)
            .with_for_update(key_share=True)
        )
        if run is None:
            raise LeaseLost(self.run_id)
        return run


@dataclass(frozen=True, slots=True)
class Again:
    """Give a run that goes on back to the queue, until `after_s` or the end of `waiting_for`."""

    after_s: float = 0.0
    waiting_for: UUID | None = None

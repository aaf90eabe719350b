"""The claiming loop: as many runs at once as the machine takes, each under a lease.

A lease is renewed while its run is driven.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.loops import back_off_s
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.lease import Again, Lease
from control_plane.runs import leases
from control_plane.runs.errors import LeaseLost
from control_plane.runs.models import Run
from control_plane.runs.moves import update_run
from control_plane.runs.rules import TERMINAL
from control_plane.wake import WakeHub

log = structlog.get_logger()

Drive = Callable[[Run, Lease, asyncio.Event], Awaitable[Again | None]]
"""Drive a run as far as it goes now: when to look again, or None if it has ended.

The event is set when it is to stop.
"""

RETRY_S = 5.0
"""How long after a failure of the platform (an engine that does not answer) a run is looked at.

After the first one; then twice as long each time.
"""
MAX_FAILURES = 5
"""Claims of one run in one state whose holder said that they failed, before it is given up."""
MAX_DEATHS = 8
"""Claims of one run in one state that came to nothing, in whatever way, before it is given up.

A poison run must not kill one process after the other. But a holder that was killed says nothing
of its cause: a process that somebody kills again and again must not cost the runs that it held.
"""
MAX_HOLDERS = 25
"""The same of holders that kept a living sandbox company: many restarts, not any number.

It ends what the other count cannot: a dead sandbox whose collection kills its holder.
"""
_LEAST_S, _AWAY_S = 0.05, 1.0


class Worker:
    """Claims runs and drives them.

    `poke` makes it look at the queue at once; polling makes it right.
    """

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        drive: Drive,
        owner: str,
        site: UUID | None = None,
        wake: WakeHub | None = None,
        concurrency: int,
        lease_s: float,
        poll_s: float = 1.0,
        retry_s: float = RETRY_S,
    ) -> None:
        self._sessions, self._drive, self._owner = sessions, drive, owner
        self._site, self._wake = site, wake or WakeHub()
        self._lease_s, self._poll_s, self._retry_s = lease_s, poll_s, retry_s
        self._free = asyncio.Semaphore(concurrency)
        self._poked = asyncio.Event()
        self._live: set[asyncio.Task[None]] = set()

    def poke(self) -> None:
        """There may be something to do."""
        self._poked.set()

    async def serve(self) -> None:
        """Claim and drive until cancelled.

        Runs under way are then left where they are: their next holder adopts them.
        """
        try:
            while True:
                await self._free.acquire()
                run = await self._claimed()
                if run is None:
                    self._free.release()
                    await self._rest()
                else:
                    task = asyncio.create_task(self._hold(run), name=f"run {run.id}")
                    self._live.add(task)
                    task.add_done_callback(self._done)
        finally:
            for task in self._live:
                task.cancel()
            await asyncio.gather(*self._live, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._live.discard(task)
        self._free.release()
        self.poke()

    async def _claimed(self) -> Run | None:
        """The next run; None also while the database is away, which is asked again."""
        try:
            async with self._sessions.begin() as session:
                run = await leases.claim_next(session, self._owner, self._lease_s, self._site)
                if run is not None:
                    await session.flush()
                    session.expunge(run)
                return run
        except SQLAlchemyError as error:
            log.warning("worker.database_away", error=str(error))
        except Exception as error:  # a row that cannot be read must not end the loop
            log.warning("worker.claim_failed", exc_info=error)
        return None

    async def _rest(self) -> None:
        # Not wait_for: before Python 3.12 it loses a cancel that comes with the time-out.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._poked.wait()
        self._poked.clear()

    async def _hold(self, run: Run) -> None:
        """Drive one run while a second task keeps its lease.

        Losing the lease ends the driving, and nothing is cleaned up.
        """
        lease, cancelled = Lease(run.id, run.lease_epoch), asyncio.Event()
        driving = asyncio.create_task(self._driven(run, lease, cancelled))
        keeping = asyncio.create_task(self._keep(lease, cancelled))
        try:
            await asyncio.wait({driving, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut_short = not driving.done()
            for task in (keeping, driving):
                task.cancel()
            await asyncio.gather(driving, keeping, return_exceptions=True)
            if cut_short:  # we shut down: who comes next need not wait for the lease to run out
                await self._give_back_at_once(lease)

    async def _give_back_at_once(self, lease: Lease) -> None:
        with contextlib.suppress(LeaseLost, SQLAlchemyError):
            async with self._sessions.begin() as session:
                await leases.release(session, lease.run_id, lease.epoch)

    async def _driven(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> None:
        try:
            if run.claims > MAX_DEATHS or run.holders > MAX_HOLDERS:
                await self._given_up(lease)
                return
            again = await self._drive(run, lease, cancelled)
        except LeaseLost:
            log.warning("run.lease_lost", run=str(run.id), epoch=lease.epoch)
            return
        except Exception as error:  # whatever it was: it is counted, and the run looked at again
            log.warning("run.step_failed", run=str(run.id), state=run.state, exc_info=error)
            # What is suppressed here lets the lease run out, and the next holder looks.
            with contextlib.suppress(LeaseLost, SQLAlchemyError):
                async with self._sessions.begin() as session:
                    await self._failed(session, lease, error)
            return
        if again is not None:
            with contextlib.suppress(LeaseLost, SQLAlchemyError):
                async with self._sessions.begin() as session:
                    await give_back(session, lease, again)

    async def _given_up(self, lease: Lease) -> None:
        """End a run whose holders died of it, before it can do so once more."""
        async with self._sessions.begin() as session:
            run = await lease.check(session)
            many = (
                f"the platform failed {run.claims - 1} times"
                if run.claims > MAX_DEATHS
                else f"{run.holders - 1} processes that drove the run have ended"
            )
            cause = (
                f"{many} in {run.state.value}; the last time the process was killed (for its"
                " memory?) and left no word; an operator should look at the host's log, then"
                " submit the change again"
            )
            await lose(session, run, epoch=lease.epoch, cause=cause)

    async def _failed(self, session: AsyncSession, lease: Lease, error: Exception) -> None:
        run = await lease.check(session)
        text = f"{type(error).__name__}: {error}"[:2000]
        if run.claims >= MAX_FAILURES:
            cause = f"the platform failed {run.claims} times in {run.state.value}; at last: {text}"
            await lose(session, run, epoch=lease.epoch, cause=cause)
            return
        await update_run(
            session,
            run.id,
            epoch=lease.epoch,
            changes={},
            event="platform.failure",
            payload={"error": text, "failures": run.claims},
        )
        # Longer each time: an engine that is started anew is away for a while.
        after_s = back_off_s(max(1, run.claims), self._retry_s)
        await leases.release(session, run.id, lease.epoch, after_s, failed=True)

    async def _keep(self, lease: Lease, cancelled: asyncio.Event) -> None:
        """Renew the lease at a third of its time; see at once when the run is to stop.

        While the database is away, nothing can be renewed; whether the lease was lost meanwhile
        shows at the next write.
        """
        renewed = time.monotonic()
        with self._wake.watching(lease.run_id) as watch:
            while True:
                await watch.wait(max(_LEAST_S, renewed + self._lease_s / 3 - time.monotonic()))
                due = time.monotonic() - renewed >= self._lease_s / 3
                try:
                    await self._looked_after(lease, cancelled, renew=due)
                except LeaseLost:
                    log.warning("run.lease_lost", run=str(lease.run_id), epoch=lease.epoch)
                    return
                except SQLAlchemyError as error:
                    log.warning("worker.database_away", run=str(lease.run_id), error=str(error))
                    await asyncio.sleep(_AWAY_S)
                    continue
                if due:
                    renewed = time.monotonic()

    async def _looked_after(self, lease: Lease, cancelled: asyncio.Event, *, renew: bool) -> None:
        async with self._sessions.begin() as session:
            if renew:
                await leases.renew(session, lease.run_id, lease.epoch, self._lease_s)
            wanted = select(Run.cancel_requested_at).where(Run.id == lease.run_id)
            if await session.scalar(wanted) is not None:
                cancelled.set()


async def give_back(session: AsyncSession, lease: Lease, again: Again) -> None:
    """Release the lease.

    A run that waits for another cannot miss its end: the other's row is locked while we write.
    """
    after_s = again.after_s
    if again.waiting_for is not None:
        # Not the whole row's lock: a foreign key that leads here may be looked at meanwhile.
        shared = {"key_share": True}
        child = await session.get_one(Run, again.waiting_for, with_for_update=shared)
        after_s = 0.0 if child.state in TERMINAL else after_s
    run = await lease.check(session)
    if again.waiting_for is not None:
        run.waiting_for = again.waiting_for
        await session.flush()
    await leases.release(session, run.id, lease.epoch, after_s)

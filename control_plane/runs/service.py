"""Reading runs: the row, its sandboxes, its events."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.blobs.ports import Blobs
from control_plane.db.engine import Sessions
from control_plane.db.finding import NotFound
from control_plane.runs.models import Run, RunEvent, Sandbox
from control_plane.runs.rules import TERMINAL
from control_plane.wake import WakeHub
from runners.tree_rules import PATCH_BYTES

_FOLLOWED_AT_ONCE, _FOLLOWED_S = 200, 30.0


async def find_run(session: AsyncSession, run_id: UUID) -> Run:
    """Raises NotFound."""
    run = await session.get(Run, run_id)
    if run is None:
        raise NotFound("run", run_id)
    return run


async def read_patch(blobs: Blobs, sha256: str) -> bytes:
    """The patch, checked against its hash. Raises BlobMissing."""
    return await blobs.read(sha256, PATCH_BYTES)


async def sandboxes_of(session: AsyncSession, run_id: UUID) -> list[Sandbox]:
    """In the order in which they were planned."""
    query = select(Sandbox).where(Sandbox.run_id == run_id).order_by(Sandbox.id)
    return list((await session.scalars(query)).all())


async def events_after(
    sessions: Sessions,
    run_id: UUID,
    after: int,
    limit: int,
    wait_s: float,
    wake: WakeHub | None = None,
) -> tuple[Run, list[RunEvent], bool]:
    """The next events, waiting up to `wait_s` for the first.

    And whether they are the last there will be.

    Events are numbered under the run's lock, so a number that is skipped does not exist. No
    transaction is open while it waits.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait_s
    with (wake or WakeHub()).watching(run_id) as watch:
        while True:
            run, events, ended = await _events(sessions, run_id, after, limit)
            if events or ended or clock() >= deadline:
                return run, events, ended
            await watch.wait(deadline - clock())


async def follow_events(
    sessions: Sessions, run_id: UUID, after: int, wake: WakeHub
) -> AsyncIterator[tuple[Run, list[RunEvent], bool]]:
    """`events_after`, again and again until the last event was given."""
    ended = False
    while not ended:
        run, events, ended = await events_after(
            sessions, run_id, after, _FOLLOWED_AT_ONCE, _FOLLOWED_S, wake
        )
        after = events[-1].seq if events else after
        yield run, events, ended


async def _events(
    sessions: Sessions, run_id: UUID, after: int, limit: int
) -> tuple[Run, list[RunEvent], bool]:
    async with sessions() as session:
        run = await find_run(session, run_id)  # first: events of an ended run are all there
        query = select(RunEvent).where(RunEvent.run_id == run_id, RunEvent.seq > after)
        events = list((await session.scalars(query.order_by(RunEvent.seq).limit(limit))).all())
    last = events[-1].seq if events else after
    return run, events, run.state in TERMINAL and last >= run.event_seq

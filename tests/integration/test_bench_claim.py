"""The table that a claim is timed in holds what a queue would hold."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from benchmarks.claim import Table
from control_plane.db.base import new_id
from control_plane.repos.models import Repo
from control_plane.runs.leases import claim_next
from control_plane.runs.models import Run
from control_plane.runs.rules import RunKind, RunState


async def test_only_what_is_queued_due_and_free_is_there_to_be_claimed(sessions):
    table = await _table(sessions)
    await table.add(3, RunState.FINISHED)
    await table.pass_through(2)
    await table.add(2, RunState.EXECUTING, due_s=-3600.0, leased=True)
    await table.add(2, RunState.QUEUED, due_s=3600.0)
    await table.add(1, RunState.QUEUED)

    async with sessions.begin() as session:
        claimed = [await claim_next(session, "test", 60.0) for _ in range(2)]
        states = dict(
            (await session.execute(select(Run.state, func.count()).group_by(Run.state))).all()
        )

    assert claimed[0] is not None
    assert claimed[1] is None
    assert states == {RunState.FINISHED: 6, RunState.EXECUTING: 2, RunState.QUEUED: 3}


async def test_a_timed_claim_gives_back_what_it_took(sessions):
    table = await _table(sessions)
    await table.add(1, RunState.QUEUED)

    assert await table.claim_s() > 0

    async with sessions() as session:
        run = await session.scalar(select(Run).where(Run.state == RunState.QUEUED))
    assert (run.lease_owner, run.claims) == (None, 0)


async def _table(sessions):
    repo, template = Repo(id=new_id(), key="bench", source="nowhere"), new_id()
    run = Run(
        id=template,
        kind=RunKind.PREPARE,
        repo_id=repo.id,
        base_commit="0" * 40,
        cache_key="template",
        state=RunState.FINISHED,
        finished_at=datetime.now(UTC),
        deadline_s=60.0,
    )
    async with sessions.begin() as session:
        session.add(repo)
        await session.flush()
        session.add(run)
    return Table(sessions, template)

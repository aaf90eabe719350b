"""Moves of runs and tasks, and leases, on a real server."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from control_plane.audit.models import AuditLine
from control_plane.audit.service import append_line, broken_chains, first_broken_line
from control_plane.db.base import new_id
from control_plane.db.finding import NotFound
from control_plane.repos.models import Repo
from control_plane.runs.errors import IllegalMove, LeaseLost
from control_plane.runs.leases import claim_next, release, renew, wake
from control_plane.runs.models import Run, RunEvent
from control_plane.runs.moves import append_event, move_run, update_run
from control_plane.runs.rules import RunKind, RunState
from control_plane.tasks.models import Task
from control_plane.tasks.moves import apply_effect, move_task
from control_plane.tasks.rules import TaskStatus, effect_of
from quality_gates.model import TaskType, Verdict


async def a_run(session, **fields):
    repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
    task = Task(key=f"TASK-{new_id()}", task_type=TaskType.FEATURE, created_by="operator")
    session.add_all([repo, task])
    await session.flush()
    given = {
        "kind": RunKind.JUDGE,
        "task_id": task.id,
        "repo_id": repo.id,
        "base_commit": "0" * 40,
        "deadline_s": 60.0,
    }
    run = Run(**{**given, **fields})
    session.add(run)
    await session.flush()
    await session.refresh(run)
    return run


async def test_a_move_writes_the_row_the_event_and_the_audit_line(session):
    run = await a_run(session)
    claimed = await claim_next(session, "worker-1", 30)
    assert claimed is not None

    moved = await move_run(
        session,
        run.id,
        RunState.HYDRATING,
        epoch=claimed.lease_epoch,
        changes={"cause": "for a reason"},
        payload={"why": "go"},
    )

    assert (moved.state, moved.cause, moved.event_seq) == (RunState.HYDRATING, "for a reason", 1)
    assert moved.started_at is not None
    event = await session.get(RunEvent, (run.id, 1))
    assert event.kind == "state"
    assert event.payload == {"from": "QUEUED", "to": "HYDRATING", "cause": "", "why": "go"}
    lines = (await session.scalars(select(AuditLine).where(AuditLine.chain == run.task_id))).all()
    assert [line.action for line in lines] == ["run.move"]


async def test_an_illegal_move_changes_nothing(session):
    run = await a_run(session)

    with pytest.raises(IllegalMove, match="from QUEUED to VERIFYING"):
        await move_run(session, run.id, RunState.VERIFYING, epoch=None)

    await session.refresh(run)
    assert (run.state, run.event_seq) == (RunState.QUEUED, 0)


async def test_a_run_that_ended_gives_its_lease_back_and_moves_no_more(session):
    run = await a_run(session)
    claimed = await claim_next(session, "worker-1", 30)

    ended = await move_run(
        session, run.id, RunState.CANCELLED, epoch=claimed.lease_epoch, cause="operator"
    )

    assert (ended.lease_owner, ended.lease_until, ended.cause) == (None, None, "operator")
    assert ended.finished_at is not None
    with pytest.raises(IllegalMove):
        await move_run(session, run.id, RunState.LOST, epoch=None)


async def test_a_cancel_that_races_with_the_end_has_one_winner(sessions):
    async def end(run_id, to, **changes):
        try:
            async with sessions.begin() as session:
                await move_run(session, run_id, to, epoch=None, changes=changes)
        except IllegalMove:
            return None
        return to

    for _ in range(15):
        async with sessions.begin() as session:
            run = await a_run(session, state=RunState.VERIFYING)
        ends = await asyncio.gather(
            end(run.id, RunState.CANCELLED), end(run.id, RunState.FINISHED, verdict=Verdict.PASSED)
        )
        (winner,) = [each for each in ends if each]
        async with sessions() as session:
            found = await session.get(Run, run.id)
            assert (found.state, found.event_seq) == (winner, 1)
            assert await first_broken_line(session, run.task_id) is None


async def test_no_task_run_is_finished_without_a_verdict(session):
    run = await a_run(session, state=RunState.VERIFYING)

    with pytest.raises(IntegrityError, match="finished_has_verdict"):
        await move_run(session, run.id, RunState.FINISHED, epoch=None)


async def test_an_unknown_run_is_told_apart_from_a_lost_lease(session):
    with pytest.raises(NotFound):
        await move_run(session, new_id(), RunState.HYDRATING, epoch=1)


async def test_the_columns_that_moves_own_cannot_be_slipped_in(session):
    run = await a_run(session)
    for name in ("state", "lease_epoch", "no_such_column"):
        with pytest.raises(TypeError, match=name):
            await update_run(session, run.id, epoch=None, changes={name: 1})


async def test_hostile_text_does_not_keep_a_run_from_ending(session):
    run = await a_run(session)
    hostile = {
        "said": "a\x00b\ud800",
        "size": 2**70,
        "rate": float("nan"),
        "id": run.id,
        "list": ("\x00",),
    }

    moved = await move_run(
        session, run.id, RunState.LOST, epoch=None, cause="exit\x00", payload=hostile
    )

    assert moved.cause == "exit\N{REPLACEMENT CHARACTER}"
    event = await session.get(RunEvent, (run.id, 1))
    assert event.payload["said"] == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    session.expunge_all()
    assert await first_broken_line(session, run.task_id) is None


async def test_events_of_one_run_are_numbered_without_gaps_even_when_written_at_once(sessions):
    async with sessions.begin() as session:
        run = await a_run(session)

    async def write(i):
        async with sessions.begin() as session:
            return await append_event(session, run.id, "note", {"i": i})

    numbers = await asyncio.gather(*(write(i) for i in range(12)))

    assert sorted(numbers) == list(range(1, 13))


async def test_two_claimers_never_get_the_same_run(sessions):
    async with sessions.begin() as session:
        expected = {(await a_run(session)).id for _ in range(12)}

    async def claim_all(owner):
        mine = []
        while True:
            async with sessions.begin() as session:
                run = await claim_next(session, owner, 60)
            if run is None:
                return mine
            mine.append(run.id)

    taken = [
        run
        for mine in await asyncio.gather(*(claim_all(f"w{i}") for i in range(4)))
        for run in mine
    ]

    assert len(taken) == len(expected)
    assert set(taken) == expected


async def test_a_claim_skips_a_row_that_another_transaction_holds(sessions):
    async with sessions.begin() as session:
        await a_run(session)
    async with sessions.begin() as one, sessions.begin() as other, asyncio.timeout(30):
        assert await claim_next(one, "w1", 60) is not None
        assert await claim_next(other, "w2", 60) is None


async def test_an_expired_lease_is_taken_over_and_the_old_epoch_is_refused(sessions):
    async with sessions.begin() as session:
        await a_run(session)
        old = await claim_next(session, "w1", 60)
    async with sessions.begin() as session:
        assert await claim_next(session, "w2", 60) is None
        await session.execute(update(Run).values(lease_until=func.now() - timedelta(seconds=1)))
    async with sessions.begin() as session:
        new = await claim_next(session, "w2", 60)

    assert new.lease_epoch == old.lease_epoch + 1
    for refused in (
        lambda session: move_run(session, old.id, RunState.HYDRATING, epoch=old.lease_epoch),
        lambda session: update_run(
            session, old.id, epoch=old.lease_epoch, changes={"facts": {"stale": True}}
        ),
        lambda session: renew(session, old.id, old.lease_epoch, 60),
        lambda session: release(session, old.id, old.lease_epoch),
    ):
        async with sessions() as session:
            with pytest.raises(LeaseLost):
                await refused(session)
    async with sessions.begin() as session:
        await move_run(session, new.id, RunState.HYDRATING, epoch=new.lease_epoch)


async def test_a_released_run_waits_for_its_time_and_is_woken_before_it(sessions):
    async with sessions.begin() as session:
        await a_run(session)
        run = await claim_next(session, "w1", 60)
        await renew(session, run.id, run.lease_epoch, 120)
        await release(session, run.id, run.lease_epoch, 3600)
    async with sessions.begin() as session:
        assert await claim_next(session, "w2", 60) is None
        await wake(session, run.id)
    async with sessions.begin() as session:
        again = await claim_next(session, "w2", 60)
        assert again is not None
        with pytest.raises(LeaseLost):  # given back: not even the same epoch may write
            await renew(session, run.id, run.lease_epoch, 60)


async def test_one_shared_run_lives_per_cache_key(session):
    first = await a_run(session, kind=RunKind.PREPARE, task_id=None, cache_key="k")
    await a_run(session, kind=RunKind.BASE, task_id=None, cache_key="k")
    with pytest.raises(IntegrityError, match="uq_runs_live_cache_key"):
        async with session.begin_nested():
            await a_run(session, kind=RunKind.PREPARE, task_id=None, cache_key="k")

    await move_run(session, first.id, RunState.LOST, epoch=None)

    await a_run(session, kind=RunKind.PREPARE, task_id=None, cache_key="k")


async def test_a_move_notifies_with_the_id_alone(database, sessions):
    import psycopg

    async with sessions.begin() as session:
        run = await a_run(session)
    url = database.replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as listener:
        await listener.execute("LISTEN vsc_runs")
        async with sessions.begin() as session:
            await move_run(session, run.id, RunState.CANCELLED, epoch=None)
        heard = [notice.payload async for notice in listener.notifies(timeout=10, stop_after=1)]

    assert heard == [str(run.id)]


@pytest.mark.parametrize(
    ("verdict", "status", "retries"),
    [
        (Verdict.PASSED, TaskStatus.READY_FOR_REVIEW, 0),
        (Verdict.FAILED, TaskStatus.REJECTED, 1),
        (Verdict.TAMPERED, TaskStatus.REJECTED, 1),
        (Verdict.FLAKY, TaskStatus.IN_PROGRESS, 0),
        (Verdict.ERRORED, TaskStatus.IN_PROGRESS, 0),
    ],
)
async def test_a_verdict_moves_the_task(session, verdict, status, retries):
    run = await a_run(session)
    await move_task(session, run.task_id, TaskStatus.IN_PROGRESS)

    await apply_effect(session, run.task_id, effect_of(verdict, last=True), cause=verdict)

    task = await session.get(Task, run.task_id)
    assert (task.status, task.retry_count) == (status, retries)


async def test_a_task_refuses_an_illegal_move(session):
    run = await a_run(session)
    with pytest.raises(IllegalMove, match="from QUEUED to APPROVED"):
        await move_task(session, run.task_id, TaskStatus.APPROVED)


async def test_runs_and_tasks_that_move_at_once_do_not_deadlock(sessions):
    async with sessions.begin() as session:
        run = await a_run(session)
        await move_task(session, run.task_id, TaskStatus.IN_PROGRESS)

    async def both():
        async with sessions.begin() as session:
            await append_event(session, run.id, "note")
            await append_line(session, chain=run.task_id, actor="a", action="b", subject="c")

    async def task_only(to):
        async with sessions.begin() as session:
            await move_task(session, run.task_id, to)

    async with asyncio.timeout(30):
        await asyncio.gather(*(both() for _ in range(6)), task_only(TaskStatus.QUEUED))
    async with sessions() as session:
        assert await first_broken_line(session, run.task_id) is None


async def test_the_audit_chain_shows_where_it_was_tampered_with(sessions):
    chain = new_id()
    async with sessions.begin() as session:
        for i in range(4):
            await append_line(
                session,
                chain=chain,
                actor="me",
                action=f"act-{i}",
                subject="x",
                facts={"i": i, "x": 0.5},
            )
    async with sessions.begin() as session:
        assert await first_broken_line(session, chain) is None
        # Only the owner of the table can take the guard off; the chain shows it even then.
        await session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER audit_log_rows"))
        await session.execute(
            update(AuditLine).where(AuditLine.chain == chain, AuditLine.n == 3).values(actor="you")
        )
    async with sessions.begin() as session:
        assert await first_broken_line(session, chain) == 3
        await append_line(session, chain=new_id(), actor="me", action="act", subject="y")
        assert await broken_chains(session, newest=2) == {chain: 3}
        assert await broken_chains(session, newest=1) == {}


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_the_audit_log_only_grows(session, statement):
    await append_line(session, chain=new_id(), actor="me", action="act", subject="x")
    with pytest.raises(DBAPIError, match="never changed or removed"):
        await session.execute(text(statement))

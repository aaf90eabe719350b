"""The claiming loop over a real database, with runs that need no sandbox."""

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from control_plane.audit.service import first_broken_line
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.db.base import new_id
from control_plane.orchestrator.children import Wanted, ensure_child, wake_parents
from control_plane.orchestrator.driving import RunDriver
from control_plane.orchestrator.lease import Again
from control_plane.orchestrator.worker import MAX_DEATHS, MAX_FAILURES, MAX_HOLDERS, Worker
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.models import Repo
from control_plane.repos.snapshots import Snapshots
from control_plane.runs import leases
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.moves import move_run
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState
from control_plane.tasks.models import Task
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TaskStatus
from quality_gates.model import TaskType


async def a_run(sessions, **fields):
    async with sessions.begin() as session:
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
    return run


def a_worker(sessions, drive, owner="test", **settings):
    given = {"concurrency": 4, "lease_s": 6.0, "poll_s": 0.05, "retry_s": 0.01}
    return Worker(sessions=sessions, drive=drive, owner=owner, **{**given, **settings})


@contextlib.asynccontextmanager
async def serving(*workers):
    tasks = [asyncio.create_task(worker.serve()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(sessions, run, condition):
    async with asyncio.timeout(30):
        while True:
            async with sessions() as session:
                now = await session.get_one(Run, run.id)
            if condition(now):
                return now
            await asyncio.sleep(0.02)


async def test_a_run_that_fails_the_platform_each_time_is_given_up_and_blamed_on_nobody(sessions):
    run, seen = await a_run(sessions), []

    async def drive(claimed, lease, cancelled):
        seen.append(claimed.lease_epoch)
        if claimed.state is RunState.QUEUED:
            async with sessions.begin() as session:
                await move_run(session, claimed.id, RunState.HYDRATING, epoch=lease.epoch)
                await move_task(session, claimed.task_id, TaskStatus.IN_PROGRESS)
            return Again()
        raise OSError("the disk is on fire")

    async with serving(a_worker(sessions, drive)):
        ended = await until(sessions, run, lambda now: now.state in TERMINAL)

    assert ended.state is RunState.LOST
    assert "OSError: the disk is on fire" in ended.cause
    assert len(seen) == 1 + MAX_FAILURES
    async with sessions() as session:
        task = await session.get_one(Task, run.task_id)
        assert (task.status, task.retry_count) == (TaskStatus.QUEUED, 0)
        assert await first_broken_line(session, run.task_id) is None


class Cancels:
    """Steps that end a run as somebody has asked, and are asked for nothing else."""

    def __init__(self, sessions):
        self.sessions = sessions

    async def step(self, run, lease, _):
        async with self.sessions.begin() as session:
            return await move_run(session, run.id, RunState.CANCELLED, epoch=lease.epoch)


@pytest.mark.parametrize(
    ("cancelled_at", "state"), [(None, RunState.LOST), (datetime.now(UTC), RunState.CANCELLED)]
)
async def test_a_run_whose_repository_is_nowhere_is_lost_with_words_for_an_operator(
    sessions, tmp_path, cancelled_at, state
):
    """Neither this home nor the blob store has its commit: no fault of its author's."""
    run = await a_run(sessions, cancel_requested_at=cancelled_at)
    depot, mirrors = LocalDepot(DirectoryBlobs(tmp_path / "blobs")), Mirrors(tmp_path / "mirrors")
    snapshots = Snapshots(sessions, mirrors, depot, tmp_path / "locks")
    driver = RunDriver({RunKind.JUDGE: Cancels(sessions)}, snapshots.here)

    async with serving(a_worker(sessions, driver.drive)):
        ended = await until(sessions, run, lambda now: now.state in TERMINAL)

    assert ended.state is state
    if state is RunState.LOST:
        assert "an operator must import the repository here again" in ended.cause
    async with sessions() as session:
        task = await session.get_one(Task, run.task_id)
        assert (task.status, task.retry_count) == (TaskStatus.QUEUED, 0)


async def a_run_under_way(sessions):
    run = await a_run(sessions, state=RunState.VERIFYING)
    async with sessions.begin() as session:
        await move_task(session, run.task_id, TaskStatus.IN_PROGRESS)
    return run


async def claimed_by_a_process_that_is_killed(sessions):
    """A claim as it stands in the database after `kill -9` and the lease's time."""
    async with sessions.begin() as session:
        run = await leases.claim_next(session, "the killed", -1.0)
        assert run is not None
        return run


async def test_a_run_whose_every_holder_is_killed_is_given_up_without_killing_the_next(sessions):
    run, driven = await a_run_under_way(sessions), []
    for _ in range(MAX_DEATHS):
        await claimed_by_a_process_that_is_killed(sessions)

    async def drive(claimed, lease, cancelled):
        driven.append(claimed.id)

    async with serving(a_worker(sessions, drive)):
        ended = await until(sessions, run, lambda now: now.state in TERMINAL)

    assert (ended.state, driven) == (RunState.LOST, [])
    assert f"the platform failed {MAX_DEATHS} times in VERIFYING" in ended.cause
    async with sessions() as session:
        task = await session.get_one(Task, run.task_id)
        assert (task.status, task.retry_count) == (TaskStatus.QUEUED, 0)


async def test_killed_holders_and_failed_steps_are_counted_together(sessions):
    run, driven = await a_run_under_way(sessions), []
    for _ in range(MAX_FAILURES - 2):
        await claimed_by_a_process_that_is_killed(sessions)

    async def drive(claimed, lease, cancelled):
        driven.append(claimed.id)
        raise OSError("the disk is on fire")

    async with serving(a_worker(sessions, drive)):
        ended = await until(sessions, run, lambda now: now.state in TERMINAL)

    assert len(driven) == 2
    assert "OSError: the disk is on fire" in ended.cause


async def test_killed_holders_of_an_earlier_state_do_not_count(sessions):
    run = await a_run_under_way(sessions)
    async with sessions.begin() as session:
        row = await session.get_one(Run, run.id)
        row.state = RunState.HYDRATING
    for _ in range(MAX_FAILURES - 1):
        await claimed_by_a_process_that_is_killed(sessions)
    held = await claimed_by_a_process_that_is_killed(sessions)
    async with sessions.begin() as session:
        moved = await move_run(session, run.id, RunState.VERIFYING, epoch=held.lease_epoch)

    assert (moved.claims, moved.holders) == (1, 1), "its holder's own"


async def a_sandbox(sessions, run, state):
    async with sessions.begin() as session:
        box = Sandbox(
            run_id=run.id, stage="execute", n=0, name=f"box-{run.id}", fingerprint="", spec={},
            state=SandboxState(state),
        )  # fmt: skip
        session.add(box)


@pytest.mark.parametrize(("state", "left"), [("LAUNCHED", 1), ("ENDED", MAX_FAILURES)])
async def test_holders_that_kept_a_living_sandbox_company_do_not_count(sessions, state, left):
    """An agent may outlive any number of restarts; what parses its evidence may not."""
    run = await a_run_under_way(sessions)
    await a_sandbox(sessions, run, state)
    for _ in range(MAX_FAILURES):
        held = await claimed_by_a_process_that_is_killed(sessions)

    async with sessions.begin() as session:
        await leases.renew(session, run.id, held.lease_epoch, -1.0)

    async with sessions() as session:
        assert (await session.get_one(Run, run.id)).claims == left


async def test_a_collection_that_kills_every_holder_is_given_up_in_the_end(sessions):
    """The row of a dead sandbox says LAUNCHED until what it left is taken."""
    run, driven = await a_run_under_way(sessions), []
    await a_sandbox(sessions, run, "LAUNCHED")
    for _ in range(MAX_HOLDERS):
        held = await claimed_by_a_process_that_is_killed(sessions)
        async with sessions.begin() as session:
            await leases.renew(session, run.id, held.lease_epoch, -1.0)

    async def drive(claimed, lease, cancelled):
        driven.append(claimed.id)

    async with serving(a_worker(sessions, drive)):
        ended = await until(sessions, run, lambda now: now.state in TERMINAL)

    assert (ended.state, driven) == (RunState.LOST, [])
    assert f"{MAX_HOLDERS} processes" in ended.cause
    async with sessions() as session:
        task = await session.get_one(Task, run.task_id)
        assert (task.status, task.retry_count) == (TaskStatus.QUEUED, 0)


async def test_those_that_were_held_beside_one_that_kills_do_not_die_of_it(sessions):
    """Whoever is killed again and again takes no second suspect beside the first."""
    suspects = [(await a_run_under_way(sessions)).id for _ in range(3)]
    async with sessions.begin() as session:
        at_their_next_claim = update(Run).values(claims=leases.SUSPECT - 1)
        await session.execute(at_their_next_claim.where(Run.id.in_(suspects)))
    fresh = (await a_run_under_way(sessions)).id
    driven, beside = [], set()

    async def drive(claimed, lease, cancelled):
        driven.append(claimed.id)
        beside.add(frozenset(driven) & {*suspects})
        await asyncio.sleep(0.3)
        driven.remove(claimed.id)
        async with sessions.begin() as session:
            await move_run(session, claimed.id, RunState.CANCELLED, epoch=lease.epoch)

    async with serving(a_worker(sessions, drive)):
        for one in [*suspects, fresh]:
            async with sessions() as session:
                run = await session.get_one(Run, one)
            await until(sessions, run, lambda now: now.state in TERMINAL)

    assert {len(some) for some in beside} <= {0, 1}
    assert frozenset().union(*beside) == {*suspects}


async def test_a_run_that_waits_or_is_given_back_in_order_is_never_given_up(sessions):
    run, driven = await a_run_under_way(sessions), []

    async def drive(claimed, lease, cancelled):
        driven.append((claimed.claims, claimed.holders))
        if len(driven) == 3 * MAX_FAILURES:
            async with sessions.begin() as session:
                await move_run(session, claimed.id, RunState.CANCELLED, epoch=lease.epoch)
            return None
        return Again()

    async with serving(a_worker(sessions, drive)):
        ended = await until(sessions, run, lambda now: now.state in TERMINAL)

    assert ended.state is RunState.CANCELLED
    assert set(driven) == {(1, 1)}


@pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.IN_PROGRESS])
async def test_a_run_that_never_leaves_the_queue_is_given_up_too(sessions, status):
    run, seen = await a_run(sessions), []
    async with sessions.begin() as session:
        if status is TaskStatus.IN_PROGRESS:  # a judge run behind its session
            await move_task(session, run.task_id, status)

    async def drive(claimed, lease, cancelled):
        seen.append(claimed.lease_epoch)
        raise OSError("no mirror")

    async with serving(a_worker(sessions, drive)):
        ended = await until(sessions, run, lambda now: now.state in TERMINAL)

    assert (ended.state, len(seen)) == (RunState.LOST, MAX_FAILURES)
    assert "OSError: no mirror" in ended.cause
    async with sessions() as session:
        task = await session.get_one(Task, run.task_id)
        assert (task.status, task.retry_count) == (TaskStatus.QUEUED, 0)


async def test_two_workers_never_drive_one_run_at_a_time(sessions):
    runs = [await a_run(sessions) for _ in range(12)]
    driven, under_way, twice = [], set(), set()

    async def drive(claimed, lease, cancelled):
        twice.update({claimed.id} & under_way)
        under_way.add(claimed.id)
        driven.append(claimed.id)
        await asyncio.sleep(0.05)
        async with sessions.begin() as session:
            await move_run(session, claimed.id, RunState.CANCELLED, epoch=lease.epoch)
        under_way.discard(claimed.id)

    async with serving(a_worker(sessions, drive, "one"), a_worker(sessions, drive, "two")):
        for run in runs:
            await until(sessions, run, lambda now: now.state in TERMINAL)

    assert not twice
    assert sorted(driven) == sorted(run.id for run in runs)


async def test_a_worker_that_ends_gives_its_runs_back_at_once(sessions):
    run, held = await a_run(sessions), asyncio.Event()

    async def drive(claimed, lease, cancelled):
        held.set()
        await asyncio.Event().wait()

    async with serving(a_worker(sessions, drive, lease_s=3600.0)):
        await held.wait()

    async with sessions() as session:
        now = await session.get_one(Run, run.id)
        assert (now.lease_owner, now.state, now.claims) == (None, RunState.QUEUED, 0)


async def test_a_cancel_reaches_whoever_drives_the_run(sessions):
    run, stopped = await a_run(sessions), asyncio.Event()

    async def drive(claimed, lease, cancelled):
        await cancelled.wait()
        stopped.set()
        async with sessions.begin() as session:
            await move_run(session, claimed.id, RunState.CANCELLED, epoch=lease.epoch)

    async with serving(a_worker(sessions, drive)):
        await until(sessions, run, lambda now: now.lease_owner is not None)
        async with sessions.begin() as session:
            row = await session.get_one(Run, run.id, with_for_update=True)
            row.cancel_requested_at = row.created_at
        async with asyncio.timeout(30):
            await stopped.wait()


@pytest.mark.parametrize("ends", ["before the parent waits", "while the parent waits"])
async def test_a_parent_cannot_miss_the_end_of_what_it_waits_for(sessions, ends):
    parent, looked = await a_run(sessions), []
    wanted = Wanted(
        kind=RunKind.PREPARE,
        cache_key="key",
        repo_id=parent.repo_id,
        base_commit="0" * 40,
        deadline_s=1.0,
    )
    async with sessions.begin() as session:
        child = await ensure_child(session, wanted)
        assert await ensure_child(session, wanted) == child, "two that ask get one run"

    async def end_child():
        async with sessions.begin() as session:
            await move_run(session, child, RunState.LOST, epoch=None)
            await wake_parents(session, child)

    async def drive(claimed, lease, cancelled):
        if claimed.kind is RunKind.PREPARE:
            return Again(3600.0)
        looked.append(claimed.lease_epoch)
        if len(looked) > 1:
            async with sessions.begin() as session:
                await move_run(session, claimed.id, RunState.CANCELLED, epoch=lease.epoch)
            return None
        if ends == "before the parent waits":
            await end_child()
        return Again(3600.0, waiting_for=child)

    async with serving(a_worker(sessions, drive)):
        if ends == "while the parent waits":
            await until(sessions, parent, lambda now: now.waiting_for == child)
            await end_child()
        await until(sessions, parent, lambda now: now.state in TERMINAL)

    assert len(looked) == 2

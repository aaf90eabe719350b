"""Shared runs that end between a look at their cache and the wish for one."""

import asyncio
from dataclasses import asdict, replace

import pytest
from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.orm import Session

from control_plane.db.base import new_id
from control_plane.judgements.policies import policy_to_json
from control_plane.orchestrator.base_cache import BaseCache
from control_plane.orchestrator.children import Wanted, ensure_child
from control_plane.orchestrator.environment_cache import EnvironmentCache, Prepared
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.worker import give_back
from control_plane.repos.environments.detect import detect
from control_plane.repos.models import EnvironmentRow, Repo
from control_plane.runs.leases import claim_next
from control_plane.runs.models import Run, SharedRun
from control_plane.runs.moves import ask_to_stop
from control_plane.runs.rules import RunKind, RunState
from control_plane.tasks.models import Task
from quality_gates.model import Environment, GatePolicy, TaskType

FACTS = Environment("0" * 64, "image", "/env/bin/python", False, ())
POLICY = policy_to_json(GatePolicy())


class Recipes:
    """One recipe for every tree."""

    async def of(self, run, judged):
        return detect({}, {}, {})


@pytest.fixture
async def run(sessions):
    async with sessions.begin() as session:
        repo = Repo(key="repo", source="/somewhere")
        task = Task(key="TASK-1", task_type=TaskType.FEATURE, created_by="operator")
        session.add_all([repo, task])
        await session.flush()
        judges = Run(
            kind=RunKind.JUDGE,
            task_id=task.id,
            repo_id=repo.id,
            base_commit="0" * 40,
            deadline_s=60.0,
        )
        session.add(judges)
    return judges


@pytest.fixture(params=[RunKind.PREPARE, RunKind.BASE])
async def look(request, sessions, run):
    """How a judge run looks for what it shares with others."""
    if request.param is RunKind.PREPARE:
        environments = EnvironmentCache(sessions=sessions, recipes=Recipes(), image="image")
        return lambda: environments.find(run, "1" * 40)
    bases = BaseCache(sessions=sessions, changes=None, image="image")
    async with sessions.begin() as session:
        row = EnvironmentRow(
            id=new_id(), cache_key="key", sha256=FACTS.sha256, layers=[], facts=asdict(FACTS)
        )
        session.add(row)
    return lambda: bases.find(run, POLICY, Prepared(row.id, (), FACTS))


def another(url, wanted, state=RunState.FINISHED):
    """One that others have asked for, from its beginning to its end."""
    engine, run_id = create_engine(url), new_id()
    with Session(engine) as session, session.begin():
        session.add(
            Run(
                id=run_id,
                kind=wanted.kind,
                cache_key=wanted.cache_key,
                repo_id=wanted.repo_id,
                base_commit=wanted.base_commit,
                deadline_s=1.0,
                state=state,
                finished_at=func.clock_timestamp(),
            )
        )
        session.flush()
        session.add(SharedRun(run_id=run_id))
    engine.dispose()
    return run_id


async def asked(sessions, wanted):
    async with sessions.begin() as session:
        return await ensure_child(session, wanted)


async def all_of(sessions, wanted):
    async with sessions() as session:
        return set(await session.scalars(select(Run.id).where(Run.kind == wanted.kind)))


async def test_what_has_ended_since_the_look_is_not_made_again(database, sessions, look):
    wanted = await look()
    assert isinstance(wanted, Wanted)
    ended = another(database, wanted)

    assert await asked(sessions, wanted) == ended
    assert await all_of(sessions, wanted) == {ended}


async def test_what_had_ended_before_the_look_is_made_again(database, sessions, look):
    before = another(database, await look(), RunState.LOST)
    wanted = await look()

    made = await asked(sessions, wanted)

    assert await all_of(sessions, wanted) == {before, made}


async def test_what_lives_and_dies_while_ours_is_written_is_not_made_again(
    database, sessions, look
):
    wanted, ended = await look(), []

    @event.listens_for(sessions.kw["bind"].sync_engine, "after_cursor_execute", once=True)
    def meanwhile(*_):  # after the look for a living one
        ended.append(another(database, wanted))

    assert [await asked(sessions, wanted)] == ended
    assert await all_of(sessions, wanted) == set(ended)


async def test_a_key_is_told_from_others(database, sessions, look):
    wanted = await look()
    other = another(database, replace(wanted, cache_key="another"))

    assert await asked(sessions, wanted) != other


async def test_a_run_is_cancelled_while_it_is_given_back_to_wait_for_another(sessions, look, run):
    """The row of the shared run is held then; what cancels writes the waiting run's row twice.

    PostgreSQL looks at the foreign keys of a row that a transaction writes for the second time,
    whether they changed or not: `waiting_for` leads to the row that is held.
    """
    wanted = await look()
    async with sessions.begin() as session:
        child = await ensure_child(session, wanted)
        held = await claim_next(session, "holder", 60.0)
        assert held.id == run.id
        held.waiting_for = child
        lease = Lease(held.id, held.lease_epoch)

    async def holder():
        async with sessions.begin() as session:
            await give_back(session, lease, Again(60.0, waiting_for=child))

    async with sessions.begin() as session:
        await session.get_one(Run, run.id, with_for_update={"key_share": True})
        giving_back = asyncio.create_task(holder())
        await until_one_waits_for_a_lock(sessions)
        assert await ask_to_stop(session, run.id, "operator")
    await giving_back

    async with sessions() as session:
        now = await session.get_one(Run, run.id)
    assert now.cancel_requested_at is not None
    assert now.lease_owner is None


async def until_one_waits_for_a_lock(sessions):
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(30):
        while True:
            async with sessions() as session:
                if (await session.execute(query)).scalar_one():
                    return
            await asyncio.sleep(0.02)

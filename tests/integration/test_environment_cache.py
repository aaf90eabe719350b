"""Environments, looked for while the run that makes one ends."""

from dataclasses import asdict

import pytest
from sqlalchemy import create_engine, delete, event, func
from sqlalchemy.orm import Session

from control_plane.db.base import new_id
from control_plane.orchestrator.children import Wanted, ensure_child
from control_plane.orchestrator.environment_cache import EnvironmentCache, Prepared, Unpreparable
from control_plane.repos.environments.detect import detect
from control_plane.repos.models import EnvironmentRow, Repo
from control_plane.runs.models import Run
from control_plane.runs.rules import RunKind, RunState
from control_plane.tasks.models import Task
from quality_gates.model import Environment, TaskType

FACTS = asdict(Environment("0" * 64, "image", "/env/bin/python", False, ()))


class Recipes:
    """One recipe for every tree."""

    async def of(self, run, judged):
        return detect({}, {}, {})


@pytest.fixture
def cache(sessions):
    return EnvironmentCache(sessions=sessions, recipes=Recipes(), image="image")


@pytest.fixture
async def asked(sessions, cache):
    """A judge run that waits for a prepare run, and that one."""
    async with sessions.begin() as session:
        repo = Repo(key="repo", source="/somewhere")
        task = Task(key="TASK-1", task_type=TaskType.FEATURE, created_by="operator")
        session.add_all([repo, task])
        await session.flush()
        run = Run(
            kind=RunKind.JUDGE,
            task_id=task.id,
            repo_id=repo.id,
            base_commit="0" * 40,
            deadline_s=60.0,
        )
        session.add(run)
    wanted = await cache.find(run, "1" * 40)
    assert isinstance(wanted, Wanted)
    async with sessions.begin() as session:
        run.waiting_for = await ensure_child(session, wanted)
        session.add(run)
    return run, wanted.cache_key


def ended(url, run, cache_key, state, cause=""):
    """What a prepare run's last transaction writes."""
    engine = create_engine(url)
    with Session(engine) as session, session.begin():
        child = session.get_one(Run, run.waiting_for)
        child.state, child.cause, child.finished_at = state, cause, func.now()
        if state is RunState.FINISHED:
            layers = {"sha256": "0" * 64, "layers": [], "facts": FACTS}
            session.add(EnvironmentRow(id=new_id(), cache_key=cache_key, **layers))
    engine.dispose()


async def test_one_that_is_made_between_two_looks_is_found(database, sessions, cache, asked):
    run, key = asked
    at = sessions.kw["bind"].sync_engine

    @event.listens_for(at, "after_cursor_execute", once=True)
    def meanwhile(*_):
        ended(database, run, key, RunState.FINISHED)

    assert isinstance(await cache.find(run, "1" * 40), Prepared)


async def test_one_that_could_not_be_made_is_told_with_the_cause(database, cache, asked):
    run, key = asked
    ended(database, run, key, RunState.LOST, "no index answers")

    found = await cache.find(run, "1" * 40)

    assert isinstance(found, Unpreparable)
    assert found.reason.endswith("no index answers")


async def test_one_that_was_made_and_collected_since_is_made_again(
    database, sessions, cache, asked
):
    run, key = asked
    ended(database, run, key, RunState.FINISHED)
    async with sessions.begin() as session:
        await session.execute(delete(EnvironmentRow))

    assert isinstance(await cache.find(run, "1" * 40), Wanted)

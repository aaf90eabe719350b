"""Who waits is woken by what happens, in whatever process, and misses nothing when told nothing."""

import asyncio
import contextlib
import time

import pytest
from sqlalchemy import text

from control_plane.db.base import new_id
from control_plane.repos.models import Repo
from control_plane.runs.models import Run
from control_plane.runs.moves import append_event
from control_plane.runs.rules import RunKind
from control_plane.runs.service import events_after
from control_plane.wake import LOGS, RUNS, WakeHub, notify

LONG_S = 3600.0


@contextlib.asynccontextmanager
async def served(url):
    hub = WakeHub()
    serving = asyncio.create_task(hub.serve(url))
    async with asyncio.timeout(30):
        while not hub.connected:  # noqa: ASYNC110 -- nobody is told of a connection
            await asyncio.sleep(0.01)
    try:
        yield hub
    finally:
        serving.cancel()
        await asyncio.wait({serving})


@pytest.fixture
async def hub(database, monkeypatch):
    monkeypatch.setattr("control_plane.wake._SAFETY_S", LONG_S)
    async with served(database) as hub:
        yield hub


async def a_run(sessions):
    async with sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        session.add(repo)
        await session.flush()
        run = Run(
            kind=RunKind.BASE,
            cache_key=new_id().hex,
            repo_id=repo.id,
            base_commit="0" * 40,
            deadline_s=60.0,
        )
        session.add(run)
    return run.id


async def say(sessions, channel, key):
    async with sessions.begin() as session:
        await notify(session, channel, key)


async def test_an_event_wakes_whoever_waits_for_it_in_any_process(sessions, hub, database):
    run = await a_run(sessions)
    async with served(database) as other, asyncio.timeout(30):
        waiting = [
            asyncio.create_task(events_after(sessions, run, 0, 10, LONG_S, one))
            for one in (hub, other)
        ]
        await asyncio.sleep(0.1)
        async with sessions.begin() as session:
            await append_event(session, run, "test")
        for _, events, _ in await asyncio.gather(*waiting):
            assert [event.kind for event in events] == ["test"]


async def test_news_wakes_only_those_whom_it_concerns_and_logs_poke_no_worker(sessions, hub):
    run, other, sandbox, poked = new_id(), new_id(), new_id(), []
    with (
        hub.watching(run) as watch,
        hub.watching(other) as stranger,
        hub.poking(lambda: poked.append(1)),
    ):
        watch.also(sandbox)
        await say(sessions, LOGS, sandbox)
        async with asyncio.timeout(30):
            await watch.wait(LONG_S)
        assert not poked
        await say(sessions, RUNS, run)
        async with asyncio.timeout(30):
            await watch.wait(LONG_S)
        assert poked
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await stranger.wait(LONG_S)


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancel_that_comes_with_news_is_not_lost(turns):
    """Before Python 3.12 `asyncio.wait_for` answers such a cancel with its result."""
    hub, key = WakeHub(), new_id()
    hub.connected = True

    async def follow():
        with hub.watching(key) as watch:
            while True:
                await watch.wait(LONG_S)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    hub.tell(RUNS, str(key))
    for _ in range(turns):
        await asyncio.sleep(0)
    following.cancel()

    ended, _ = await asyncio.wait({following}, timeout=1)
    following.cancel()
    assert ended == {following}


async def test_a_connection_that_breaks_wakes_everybody_and_is_made_anew(sessions, hub):
    run = new_id()
    with hub.watching(run) as watch:
        async with sessions.begin() as session:
            await session.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
                )
            )
        async with asyncio.timeout(30):
            await watch.wait(LONG_S)
            while not hub.connected:  # noqa: ASYNC110 -- nobody is told of a connection
                await asyncio.sleep(0.01)
            await watch.wait(LONG_S)
            await say(sessions, RUNS, run)
            await watch.wait(LONG_S)


async def test_without_a_connection_whoever_waits_looks_again_by_himself(sessions):
    run = await a_run(sessions)
    waiting = asyncio.create_task(events_after(sessions, run, 0, 10, LONG_S))
    await asyncio.sleep(0.1)
    async with sessions.begin() as session:
        await append_event(session, run, "test")
    async with asyncio.timeout(30):
        assert (await waiting)[1]


async def test_a_wait_ends_in_time_though_nothing_happens(sessions, hub):
    run, began = await a_run(sessions), time.monotonic()
    _, events, _ = await events_after(sessions, run, 0, 10, 0.3, hub)
    assert not events
    assert time.monotonic() - began >= 0.3

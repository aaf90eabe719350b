"""Checks the history that a fleet has left: what must hold whatever was killed when."""

import itertools
from collections import Counter

from fleet_kit import Fleet
from sqlalchemy import func, select

from control_plane.audit.service import first_broken_line
from control_plane.orchestrator.reconcile import Reconciler
from control_plane.processes.engines import memory_engine
from control_plane.processes.ground import open_ground
from control_plane.runs.models import LogChunk, Run, RunEvent, Sandbox
from control_plane.runs.rules import TERMINAL, RunState, SandboxState, legal


async def assert_sound(fleet: Fleet) -> None:
    """Each run ended once, by legal moves, events without gap, no start twice, nothing left."""
    async with fleet.sessions() as session:
        runs = list(await session.scalars(select(Run)))
        boxes = list(await session.scalars(select(Sandbox)))
        for run in runs:
            query = select(RunEvent).where(RunEvent.run_id == run.id).order_by(RunEvent.seq)
            assert_one_story(run, list(await session.scalars(query)))
            assert await first_broken_line(session, run.task_id or run.id) is None
        assert [box.name for box in boxes if box.state is not SandboxState.DESTROYED] == []
        assert await session.scalar(select(func.count()).select_from(LogChunk)) == 0
    starts = await fleet.engine.starts()
    assert {name: times for name, times in starts.items() if times > 1} == {}
    of_runs = Counter({name: n for name, n in starts.items() if "-compile-" not in name})
    assert set(of_runs) <= {box.name for box in boxes}, "nothing runs without its row"
    assert await leftovers(fleet) == []


def assert_one_story(run: Run, events: list[RunEvent]) -> None:
    moves = [event.payload for event in events if event.kind == "state"]
    states = [RunState.QUEUED, *(RunState(move["to"]) for move in moves)]
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), run.id
    assert [move["from"] for move in moves] == states[:-1], run.id
    assert all(legal(run.kind, one, to) for one, to in itertools.pairwise(states))
    assert [state for state in states if state in TERMINAL] == [run.state], (run.id, states)


async def leftovers(fleet: Fleet) -> list[str]:
    """What the engine still has when the reconciler has looked, twice and without its grace."""
    async with open_ground(fleet.settings()) as ground, memory_engine(ground) as engine:
        reconciler = Reconciler(
            sessions=ground.sessions,
            provider=engine.provider,
            blobs=ground.blobs,
            install=engine.site.name,
            grace_s=0,
        )
        await reconciler.once()
        await reconciler.once()
        owned = [one.name async for one in engine.provider.owned()]
    return owned + [place.name for place in (fleet.engine.home / "s").iterdir()]

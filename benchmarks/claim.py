"""P11: taking the next run from the queue, whatever number of runs have ended.

Three tables, each with one live run and with 300: 100 ended runs; 100,000; and 100,000 of which a
fifth has just gone through the queue. That leaves dead entries in the queue's index, and a fifth of
the table is what PostgreSQL lets gather before it vacuums.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.paired import Entry, Stopwatch, paired, ratio
from control_plane.db.base import new_id
from control_plane.db.embedded import embedded
from control_plane.db.engine import Sessions, new_engine, session_factory
from control_plane.db.migrate import migrate
from control_plane.repos.models import Repo
from control_plane.runs import leases
from control_plane.runs.models import Run
from control_plane.runs.rules import TERMINAL, RunKind, RunState

FEW, MANY = 100, 100_000
_DEAD = MANY // 5
_LIVE = 300
_CLAIMS = 20
_LEASE_S = 600.0
_AT_ONCE = 5_000

_OWN = frozenset(
    {"id", "cache_key", "state", "finished_at", "next_action_at", "lease_owner", "lease_until"}
)
_COPIED = (", ").join(column for column in Run.__table__.columns.keys() if column not in _OWN)  # noqa: SIM118 -- not a dict
_COPY = f"""
    INSERT INTO runs ({_COPIED}, id, cache_key, state, finished_at,
        next_action_at, lease_owner, lease_until)
    SELECT {_COPIED}, gen_random_uuid(), gen_random_uuid(), :state, :finished_at,
        now() + make_interval(secs => :due_s - n * 0.01),
        CASE WHEN :leased THEN 'another' END, CASE WHEN :leased THEN now() + interval '1 day' END
    FROM runs, generate_series(1, :count) AS n WHERE id = :template
"""  # noqa: S608 -- names of our own columns
_END = "UPDATE runs SET state = 'FINISHED', finished_at = now() WHERE state = 'QUEUED'"


@dataclass(frozen=True, slots=True)
class Table:
    """A database of its own, with runs in it."""

    sessions: Sessions
    template: UUID
    """The run that all others are copies of."""

    async def add(
        self, count: int, state: RunState, *, due_s: float = 0.0, leased: bool = False
    ) -> None:
        """That many runs, which wait since `due_s` (or are due then)."""
        finished_at = datetime.now(UTC) if state in TERMINAL else None
        values = {"count": count, "state": state, "finished_at": finished_at}
        values |= {"due_s": due_s, "leased": leased}
        async with self.sessions.begin() as session:
            await session.execute(text(_COPY), values | {"template": self.template})

    async def pass_through(self, count: int) -> None:
        """That many runs, which were queued and have ended."""
        for begun in range(0, count, _AT_ONCE):
            await self.add(min(_AT_ONCE, count - begun), RunState.QUEUED)
            async with self.sessions.begin() as session:
                await session.execute(text(_END))

    async def analyse(self) -> None:
        """What autovacuum would do: the planner knows the table."""
        async with self.sessions.begin() as session:
            await session.execute(text("ANALYZE runs"))

    async def claim_s(self) -> float:
        """Seconds of a claim, of 20 one after another: the call alone, without its commit."""
        seconds = 0.0
        for _ in range(_CLAIMS):
            async with self.sessions.begin() as session:
                await session.connection()
                with Stopwatch() as watch:
                    run = await leases.claim_next(session, "bench", _LEASE_S)
                if run is None:
                    raise RuntimeError("nothing was there to claim")
            seconds += watch.seconds
            async with self.sessions.begin() as session:
                await leases.release(session, run.id, run.lease_epoch)
        return seconds / _CLAIMS


async def measure(home: Path, rounds: int) -> list[Entry]:
    """With one live run; then also 200 that others hold or that are not due, and 99 that are."""
    async with embedded(home / "claim") as url:
        await migrate(url)
        async with (
            _table(url, "few") as few,
            _table(url, "many") as many,
            _table(url, "passed") as passed,
        ):
            await few.add(FEW, RunState.FINISHED)
            await many.add(MANY, RunState.FINISHED)
            await passed.add(MANY - _DEAD, RunState.FINISHED)
            await passed.pass_through(_DEAD)
            tables = {
                f"{FEW} ended": few,
                f"{MANY} ended": many,
                f"{MANY} ended, {_DEAD} just now": passed,
            }
            entries = []
            for which, live in (("one", 1), ("live", _LIVE)):
                for table in tables.values():
                    await _live(table, live)
                entries += await _compared(tables, which, live, rounds)
            return entries


async def _live(table: Table, count: int) -> None:
    """A third of the live runs is held, a third is due, a third is not yet."""
    if count == 1:
        await table.add(1, RunState.QUEUED)
    else:
        await table.add(count // 3, RunState.EXECUTING, due_s=-3600.0, leased=True)
        await table.add(count // 3, RunState.QUEUED, due_s=3600.0)
        await table.add(count // 3 - 1, RunState.QUEUED)
    await table.analyse()


async def _compared(tables: dict[str, Table], which: str, live: int, rounds: int) -> list[Entry]:
    variants = {f"{name}, {live} live": table.claim_s for name, table in tables.items()}
    few, many, passed = (await paired("claim", variants, rounds)).values()
    how = (
        f"claim_next with {{}} in the table: {{}}, against {FEW} ended runs: {few};"
        f" {live} live; means of {_CLAIMS} claims; n={rounds}"
    )
    told = (
        (f"P11-{which}", f"{MANY} ended runs", many),
        (f"P11-{which}-dead", f"{MANY} ended runs, {_DEAD} of them just now,", passed),
    )
    return [
        Entry(
            name,
            ratio(sample, few),
            1.3,
            how.format(ended, sample),
            what=f"a claim, {live} live ({name})",
            before=f"{FEW} ended runs: {few}",
            now=f"{ended.rstrip(',')}: {sample}",
            rounds=rounds,
        )
        for name, ended, sample in told
    ]


@asynccontextmanager
async def _table(url: str, name: str) -> AsyncIterator[Table]:
    """A copy of the migrated database, with the run that all others are copies of."""
    await asyncio.to_thread(_copy_database, url, name)
    engine = new_engine(_named(url, name))
    sessions = session_factory(engine)
    repo = Repo(id=new_id(), key=name, source="nowhere")
    template = Run(
        id=new_id(),
        kind=RunKind.PREPARE,
        repo_id=repo.id,
        base_commit="0" * 40,
        cache_key="template",
        state=RunState.FINISHED,
        finished_at=datetime.now(UTC),
        deadline_s=60.0,
    )
    try:
        async with sessions.begin() as session:
            session.add(repo)
            await session.flush()
            session.add(template)
        yield Table(sessions, template.id)
    finally:
        await engine.dispose()


def _copy_database(url: str, name: str) -> None:
    engine = create_engine(_named(url, "postgres"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE vsc"))
    finally:
        engine.dispose()


def _named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)

"""A database of an older schema, with rows in every table, becomes one of the newest.

`scripts/upgrade-fixture` makes the next fixture: before a released schema gets its first migration.
"""

import hashlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from fleet_kit import PASSES, a_fleet
from sqlalchemy import create_engine, func, inspect, select, table, text
from sqlalchemy.engine import make_url
from upgrade_fixture import BLOBS, DUMP, FOLDER

from control_plane.audit.service import first_broken_line
from control_plane.cli.connect import connected
from control_plane.db.base import Base
from control_plane.db.engine import new_engine, session_factory
from control_plane.db.migrate import migrate, migrations
from control_plane.runs.models import Run
from control_plane.runs.rules import RunState
from control_plane.tables import ROOMS, metadata
from quality_gates.model import Verdict

RELEASED = {
    "0001_ground": "324de03c5e220dc66e7f62e5fb9afdde31c2a08ce0fad0fa8583f04aa02cd939",
}
"""Migrations that somebody's database has gone through, and what their files are.

They are never edited: a database that has one does not get it again, so it would be another one
than a new database, and no test would see it. Write the next migration instead.
"""
VSC = [sys.executable, "-c", "from control_plane.cli.main import main; main()"]


def test_a_released_migration_is_never_edited():
    folder = Path(migrations().get_main_option("script_location")) / "versions"
    found = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("[0-9]*.py")
    }

    assert {name: found.get(name) for name in RELEASED} == RELEASED


@pytest.fixture(params=sorted(path.name for path in FOLDER.glob("*")), scope="module")
def old(request):
    return FOLDER / request.param


@pytest.fixture(scope="module")
def loaded(postgres_url, old):
    """The dump in a database of its own."""
    name = f"u_{os.getpid()}_{secrets.token_hex(6)}"
    admin = create_engine(
        make_url(postgres_url).set(database="postgres"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    url = make_url(postgres_url).set(database=name)
    libpq = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(libpq, autocommit=True) as connection:
        connection.execute((old / DUMP).read_bytes())
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="module")
async def upgraded(loaded):
    """The same at the newest schema, and how many rows each table had before."""
    before = counted(loaded)
    await migrate(loaded)
    return loaded, before


@pytest.fixture(scope="module")
async def fleet(upgraded, old):
    """A home over it, with the blobs that came along; its engine is a new one."""
    async with a_fleet(upgraded[0]) as fleet:
        for blob in (old / BLOBS).iterdir():
            assert (await fleet.blobs.put(blob.read_bytes())).sha256 == blob.name
        yield fleet


def counted(url):
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        counts = {
            name: connection.scalar(select(func.count()).select_from(table(name)))
            for name in tables
        }
    engine.dispose()
    return counts


async def test_every_row_is_there_and_can_be_read(upgraded):
    url, before = upgraded
    after = counted(url)
    engine = new_engine(url)
    try:
        async with session_factory(engine)() as session:
            assert ROOMS  # importing them registers every model
            for mapper in Base.registry.mappers:
                rows = list(await session.scalars(select(mapper.class_)))
                assert len(rows) == after[mapper.local_table.name]
            runs = list(await session.scalars(select(Run)))
            for run in runs:
                assert await first_broken_line(session, run.task_id or run.id) is None
    finally:
        await engine.dispose()

    assert {table: after[table] for table in before} == before
    assert [table for table, rows in before.items() if not rows] == []
    assert set(after) == {*metadata.tables, "alembic_version"}


async def test_the_api_and_the_cli_read_what_was_judged(fleet):
    async with connected(fleet.settings(), None, None, in_process="read") as connection:
        client = connection.client
        tasks = (await client.get("/v1/tasks"))["items"]
        reports = {}
        for task in tasks:
            assert (await client.get(f"/v1/tasks/{task['id']}"))["key"] == task["key"]
        for run in await all_runs(fleet):
            if run.verdict is not None:
                report = await client.get(f"/v1/runs/{run.id}/report")
                assert report["verdict"] == run.verdict
                reports[str(run.id)] = run.verdict
        for run in await all_runs(fleet):
            assert (await client.get(f"/v1/runs/{run.id}"))["state"] == run.state
            await client.get(f"/v1/runs/{run.id}/events")
    told = {verdict: vsc(fleet, "report", run) for run, verdict in reports.items()}

    assert sorted(reports.values()) == [Verdict.FAILED, Verdict.PASSED]
    assert all(verdict in text for verdict, text in told.items())


async def test_a_new_run_works_and_one_whose_site_is_gone_is_lost(fleet):
    [left] = [run for run in await all_runs(fleet) if run.state is RunState.EXECUTING]
    process = fleet.start(VSC_SITE_LEASE_S="3", VSC_SITE_GRACE_S="0")

    _, run = await fleet.submit(f"{PASSES}; echo new > new")
    new, gone = await fleet.ended(run, left)
    await fleet.end(process)

    assert (new.state, new.verdict) == (RunState.FINISHED, Verdict.PASSED), new.cause
    assert gone.state is RunState.LOST
    assert "its site is gone" in gone.cause


async def all_runs(fleet):
    async with fleet.sessions() as session:
        return list(await session.scalars(select(Run)))


def vsc(fleet, *arguments):
    environ = {**os.environ, "VSC_HOME": str(fleet.home), "VSC_DATABASE_URL": fleet.url}
    done = subprocess.run(
        [*VSC, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.stdout

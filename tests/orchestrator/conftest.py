"""A fleet for each file of tests: what is made of the toy's base is made once."""

import contextlib
import os
import secrets

import pytest
from fleet_kit import a_fleet, two_fleets
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

LOG_CHARACTERS = 20_000
"""Of each control plane, in the report of a test that failed."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """With a failure come the words of the control planes: their logs are gone afterwards."""
    report = yield
    given = getattr(item, "funcargs", {})
    fleets = [given["fleet"]] if "fleet" in given else given.get("homes", [])
    if report.failed:
        for fleet in fleets:
            for process in fleet.processes:
                said = fleet.log_of(process)[-LOG_CHARACTERS:]
                report.sections.append((f"control plane {process.pid}", said))
    return report


@contextlib.contextmanager
def database_of_its_own(postgres_url):
    name = f"f_{os.getpid()}_{secrets.token_hex(6)}"
    admin = create_engine(
        make_url(postgres_url).set(database="postgres"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE vsc"))
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    yield url
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="module")
async def fleet(postgres_url):
    with database_of_its_own(postgres_url) as url:
        async with a_fleet(url) as fleet:
            yield fleet


@pytest.fixture
async def homes(postgres_url):
    """Two of them over one database and one blob store."""
    with database_of_its_own(postgres_url) as url:
        async with two_fleets(url) as homes:
            yield homes


@pytest.fixture
def control_plane(fleet):
    """One that is there for the test."""
    process = fleet.start()
    yield process
    if process.poll() is None:
        fleet.killed(process)

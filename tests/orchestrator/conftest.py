"""A fleet for each file of tests: what is made of the toy's base is made once."""

import contextlib
import os
import secrets

import pytest
from fleet_kit import a_fleet, two_fleets
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url


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

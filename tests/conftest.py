"""The fixtures that tests of several rooms share: a real PostgreSQL, built by the migrations."""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest
import structlog
from s3_fixtures import s3_program, s3_server, s3_victim  # noqa: F401 - fixtures
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.embedded import embedded
from control_plane.db.engine import new_engine, session_factory
from control_plane.db.migrate import migrate

# A test never fails because the machine is busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _logging_as_at_the_start():
    """A command line run in this process leaves logging on a stream that its test then closes.

    Tracebacks are plain, as in every process of ours (`control_plane.logs`).
    """
    structlog.reset_defaults()
    *before, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, plain])
    yield
    structlog.reset_defaults()


def _home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="vsc-test-"))
    home.chmod(0o711)
    return home


def _renamed(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
async def postgres_url():
    """A throw-away server of this worker alone.

    Its database `vsc` is migrated and stays empty: the template of others.
    """
    # Not pytest's own directory: root's is closed, and the server runs as another user. And a
    # socket's path is short.
    home = _home()
    try:
        async with embedded(home, durable=False) as url:
            await migrate(url)
            yield url
    finally:
        shutil.rmtree(home)


@pytest.fixture
async def database(postgres_url):
    """The URL of a fresh database with the newest schema, for tests that commit."""
    name = f"t_{os.getpid()}_{secrets.token_hex(6)}"
    await asyncio.to_thread(
        _administer, postgres_url, f"CREATE DATABASE {name} TEMPLATE vsc STRATEGY file_copy"
    )
    yield _renamed(postgres_url, name)
    await asyncio.to_thread(_administer, postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def sessions(database):
    """A session factory over a fresh database; what is committed is really committed."""
    engine = new_engine(database)
    yield session_factory(engine)
    await engine.dispose()


@pytest.fixture(scope="session")
async def _shared_engine(postgres_url):
    name = "shared"
    await asyncio.to_thread(_administer, postgres_url, f"CREATE DATABASE {name} TEMPLATE vsc")
    engine = new_engine(_renamed(postgres_url, name))
    yield engine
    await engine.dispose()


@pytest.fixture
async def session(_shared_engine):
    """A session whose transaction is rolled back after the test.

    A commit inside ends a savepoint only.
    """
    async with _shared_engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        ) as the_session:
            yield the_session
        with contextlib.suppress(Exception):  # a test may have broken its connection on purpose
            await transaction.rollback()


def _administer(url: str, statement: str) -> None:
    engine = create_engine(_renamed(url, "postgres"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()

"""Bring a database up to the newest schema: safe to call from every process at every start."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from control_plane.db.errors import DatabaseUnavailable, MigrationFailed

_ADVISORY_LOCK = 0x7673635F6D696772  # "vsc_migr"
_LOCK_WAIT_S = 60


def migrations() -> Config:
    """Alembic's configuration; there is no `alembic.ini`."""
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    return config


def newest() -> str:
    """The revision that this version of the code needs."""
    head = ScriptDirectory.from_config(migrations()).get_current_head()
    assert head is not None, "the package holds no migrations"  # noqa: S101 -- a broken package, not an input
    return head


async def migrate(url: str, *, lock_wait_s: int = _LOCK_WAIT_S) -> None:
    """Apply what is missing, one process at a time.

    Raises:
        DatabaseUnavailable: no server answers, or it refuses us.
        MigrationFailed: another process migrates for too long, the schema is newer than our code,
            or a step failed.
    """
    await asyncio.to_thread(_migrate, url, lock_wait_s)


def _migrate(url: str, lock_wait_s: int) -> None:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            _lock(connection, lock_wait_s)
            config = migrations()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except CommandError as error:
        raise MigrationFailed(
            f"{error}: the database was migrated by a newer vsc; update this one"
        ) from error
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "55P03":
            raise MigrationFailed(
                f"another process has been migrating for {lock_wait_s} s; try again later"
            ) from error
        raise DatabaseUnavailable(
            f"{error.orig}: check VSC_DATABASE_URL and that the server runs"
        ) from error
    except SQLAlchemyError as error:
        raise MigrationFailed(f"{error}; nothing was changed") from error
    finally:
        engine.dispose()


def _lock(connection: Connection, wait_s: int) -> None:
    """Held until the transaction ends, so that a killed migration leaves no lock behind."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{int(wait_s)}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '30s'"))

"""Bring a database up to the newest schema: safe to call from every process at every start."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from control_plane.db.errors import DatabaseUnavailable, MigrationFailed

_ADVISORY_LOCK = 0x7673635F6D696772  # "vsc_migr"
_LOCK_WAIT_S = 60
_OF_0_1_0 = "0001"
"""The only revision of 0.1.0. Its schema was made anew under another name."""


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
            _refuse_0_1_0(connection)
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


def refuse_home_of_0_1_0(home: Path) -> None:
    """Raises MigrationFailed if the files under `home` are of 0.1.0. Blocking."""
    if (home / "install").exists():
        raise MigrationFailed(
            f"{home} was made by vsc 0.1.0, whose data this version cannot take over: keep its"
            " `reports/` (and `blobs/`, if you want patches and logs), remove the rest of it and"
            " the containers labelled `vsc.install`, or name another directory with VSC_HOME"
        )


def _refuse_0_1_0(connection: Connection) -> None:
    if not inspect(connection).has_table("alembic_version"):
        return
    if connection.scalar(text("SELECT version_num FROM alembic_version")) == _OF_0_1_0:
        raise MigrationFailed(
            "this database was made by vsc 0.1.0, whose data this version cannot take over: keep"
            " the reports (`VSC_HOME/reports`), then give this version an empty database and"
            " an empty VSC_HOME"
        )


def _lock(connection: Connection, wait_s: int) -> None:
    """Held until the transaction ends, so that a killed migration leaves no lock behind."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{int(wait_s)}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '30s'"))

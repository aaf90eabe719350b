"""What is written down about a sandbox, beside its disk, so that any later process can go on.

`<home>/sandboxes/<name>/` holds everything that carries the name:

    spec.json       what was asked; written first
    disk/           the workspace and the outputs (`workspaces.py`)
    inputs/, door/  mounted read-only at /vsc and /run/vsc
    prepared        written when all of it is there: only then is a container created; says which
                    start of the machine it holds for
    container       the container's id, written between its creation and its start
    ending          why we ended it, and when, written before the first signal
    outcome.json    how it ended; written once, after which `wait` only reads it
    unreadable-*    a record that could not be read: the sandbox counts as lost

What a container does after a power cut is nothing: it is dead. So what must be known of it then
waits for the disk (`container`, `ending`, `outcome.json`), and the rest does not: without its
`spec.json` a sandbox is lost and its stage runs again under the next number, and `prepared` holds
for one start of the machine, since the inputs and the slot beside it were never synced either.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog
from filelock import FileLock

from sandboxes.documents import outcome_from_json, outcome_to_json, spec_from_json, spec_to_json
from sandboxes.doors import DoorDirectory
from sandboxes.files import write_durably, write_whole
from sandboxes.spec import Ended, SandboxId, SandboxOutcome, SandboxSpec

log = structlog.get_logger()

T = TypeVar("T")

_ASIDE = "unreadable-"
_POLL_S = 0.005
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
"""What a damaged document, or one of another version, makes of its reader."""


@dataclass(frozen=True, slots=True)
class Ending:
    """That we decided to end a sandbox."""

    ended: Ended
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Place:
    """One sandbox's directory on the host."""

    root: Path

    @property
    def name(self) -> str:
        """The sandbox's name."""
        return self.root.name

    @property
    def disk(self) -> Path:
        """The workspace's and the outputs' own directory."""
        return self.root / "disk"

    @property
    def inputs(self) -> Path:
        """What is mounted at `/vsc`."""
        return self.root / "inputs"

    def door_for(self, guest: int) -> DoorDirectory:
        """What is mounted at `/run/vsc`, for a sandbox that runs as `guest`."""
        return DoorDirectory(self.root / "door", guest)

    @property
    def collected(self) -> Path:
        """Where the collector writes."""
        return self.root / "collected"

    def spec(self) -> SandboxSpec | None:
        """What was asked; None: nothing was, its directory is gone, or it cannot be read."""
        return self._read("spec.json", spec_from_json)

    def write_spec(self, spec: SandboxSpec) -> None:
        """Write down what is asked."""
        write_whole(self.root / "spec.json", _written(spec_to_json(spec)))

    def prepared(self) -> bool:
        """Whether everything that the container mounts was there once since the machine started."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return (self.root / "prepared").read_bytes() == _BOOT_ID.read_bytes()
        return False

    def mark_prepared(self) -> None:
        """Say that everything is there."""
        write_whole(self.root / "prepared", _BOOT_ID.read_bytes())

    def container(self) -> SandboxId | None:
        """The container that was made for it, and may have been started."""
        return self._read("container", _container)

    def write_container(self, container: SandboxId) -> None:
        """Remember the container, before its start."""
        self._write("container", container)

    def ending(self) -> Ending | None:
        """Why we ended it, if we did."""
        return self._read("ending", _ending)

    def write_ending(self, ended: Ended, detail: str) -> None:
        """Say why we end it; the first reason stays."""
        if self.root.is_dir() and self.ending() is None:
            self._write("ending", [ended, datetime.now(UTC).isoformat(), detail])

    def outcome(self) -> SandboxOutcome | None:
        """How it ended, once that is settled."""
        return self._read("outcome.json", outcome_from_json)

    def write_outcome(self, outcome: SandboxOutcome) -> None:
        """Settle how it ended."""
        self._write("outcome.json", outcome_to_json(outcome))

    def damaged(self) -> list[str]:
        """The records that could not be read. Such a sandbox may have run."""
        with suppress(FileNotFoundError, NotADirectoryError):
            found = sorted(path.name for path in self.root.iterdir())
            return [name[len(_ASIDE) :] for name in found if name.startswith(_ASIDE)]
        return []

    def _read(self, name: str, value_of: Callable[[Any], T]) -> T | None:
        """The record; None: there is none, or it cannot be read and was set aside.

        That a record is damaged (a power cut, another version of ours) ends nothing but its
        sandbox, which is then as good as lost.
        """
        try:
            return value_of(json.loads((self.root / name).read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except _UNREADABLE as error:
            log.warning("record.unreadable", sandbox=self.name, record=name, error=str(error))
            with suppress(FileNotFoundError):  # another reader has set it aside
                (self.root / name).replace(self.root / f"{_ASIDE}{name}")
            return None

    def _write(self, name: str, document: Any) -> None:  # noqa: ANN401 - JSON
        write_durably(self.root / name, _written(document))


def _written(document: Any) -> bytes:  # noqa: ANN401 - JSON
    return json.dumps(document).encode()


def _container(document: Any) -> SandboxId:  # noqa: ANN401 - JSON
    if not isinstance(document, str):
        raise TypeError("a container's id is text")
    return SandboxId(document)


def _ending(document: Any) -> Ending:  # noqa: ANN401 - JSON
    ended, at, detail = document
    return Ending(Ended(ended), datetime.fromisoformat(at), detail)


def door_of(home: Path, name: str, guest: int) -> DoorDirectory:
    """Where the sandbox of that name has its door, for a gateway that has no engine."""
    return Records(home.resolve()).place(name).door_for(guest)


class Records:
    """All sandboxes of one installation on this host."""

    def __init__(self, home: Path) -> None:
        self._places, self._locks = home / "sandboxes", home / "locks"
        self._away = home / "engine-away"

    def place(self, name: str) -> Place:
        """The directory of that sandbox; it need not exist."""
        return Place(self._places / name)

    def places(self) -> list[Place]:
        """Every directory that carries a sandbox's name."""
        with suppress(FileNotFoundError):
            return [Place(root) for root in sorted(self._places.iterdir())]
        return []

    def of(self, container: SandboxId) -> Place | None:
        """The place of a container that the engine may have forgotten."""
        return next((place for place in self.places() if place.container() == container), None)

    def engine_away_at(self) -> datetime | None:
        """When the engine was last seen to be away; None: never."""
        with suppress(FileNotFoundError, ValueError):
            return datetime.fromisoformat(self._away.read_text())
        return None

    def mark_engine_away(self) -> None:
        """Nobody is there. Who settles an end later, perhaps in another process, must know."""
        self._away.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._away.with_name(f"{self._away.name}.{threading.get_ident()}.{os.getpid()}")
        fresh.write_text(datetime.now(UTC).isoformat())
        fresh.replace(self._away)

    @contextmanager
    def held(self, name: str) -> Iterator[Place]:
        """Hold one name against every other thread and process; a killed holder lets go."""
        self._locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._locks / name
        # Who waits for a file that its holder removes takes the new one.
        with FileLock(path, mode=0o600, poll_interval=_POLL_S):
            yield self.place(name)
            if not self.place(name).root.exists():
                path.unlink(missing_ok=True)

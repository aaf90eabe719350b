"""What the in-memory engine writes down about a sandbox, so that a restarted engine can go on."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sandboxes.memory.places import Place
from sandboxes.spec import Ended

State = Literal["created", "starting", "running", "ended"]


@dataclass(slots=True)
class Record:
    """One sandbox as the engine knows it. `started` is of the machine's monotonic clock."""

    id: str
    spec: dict[str, Any]
    fingerprint: str
    state: State = "created"
    started: float = 0.0
    started_at: str | None = None
    finished_at: str | None = None
    ended: str | None = None
    detail: str = ""
    """Why it was ended; written before the first signal, and the first reason stays."""
    code: int | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    outcome: dict[str, Any] | None = None
    """How it ended and what it left, as the client settled it; the first answer stays."""

    def begin(self) -> None:
        """It runs from now on."""
        self.state, self.started = "running", time.monotonic()
        self.started_at = datetime.now(UTC).isoformat()

    def end_because(self, ended: Ended, detail: str) -> None:
        """Say why we end it, unless it is said."""
        if self.ended is None:
            self.ended, self.detail = ended.value, detail

    def finish(self, exit_: dict[str, Any] | None) -> None:
        """It is dead. `exit_` is the keeper's word; None: nobody knows how it ended."""
        if exit_ is None:
            self.end_because(Ended.LOST, "nobody saw how it ended")
        else:
            self.end_because(Ended.COMPLETED, "")
            self.code = exit_["code"]
            self.usage = {name: exit_[name] for name in ("cpu_s", "memory_peak_bytes")}
        if self.started_at is not None:
            # The wall clock is read once, so that a clock that jumps changes no duration.
            lived_s = (exit_["ended"] if exit_ else time.monotonic()) - self.started
            began = datetime.fromisoformat(self.started_at)
            self.finished_at = (began + timedelta(seconds=max(0.0, lived_s))).isoformat()
        self.state = "ended"

    def write(self, place: Place) -> None:
        """Whole or not at all, whenever we are killed."""
        place.record.mkdir(parents=True, exist_ok=True)
        draft = place.record / f".record.json.{os.getpid()}"
        draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
        draft.replace(place.record / "record.json")


def read(place: Place) -> Record | None:
    """What is on record; None: nothing is."""
    document = read_json(place.record / "record.json")
    return None if document is None else Record(**document)


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON
    """The document, or None where there is none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None

"""The stream of test events: what happened, in the order in which it left the sandbox."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quality_gates.parsers.reading import (
    MAX_BYTES,
    ParseError,
    guarded,
    integer,
    mapping,
    sequence,
    text,
)

MAX_LINE_BYTES = 8 * 2**20
MAX_EVENTS = 1_000_000

OUTCOMES = ("passed", "xpassed", "xfailed", "skipped", "failed", "error")
"""From good to bad."""
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,16}\b")


@dataclass(frozen=True, slots=True)
class Stream:
    """A decoded stream that makes sense.

    No test ended that did not start, and nothing came after the session's end.
    """

    collected: tuple[str, ...]
    outcomes: dict[str, str]
    details: dict[str, str]
    unfinished: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]
    session_exit_code: int | None
    equals: frozenset[tuple[str, str]] = frozenset()
    """Classes whose objects say that they equal everything: path of the code, name."""
    dropped_bytes: int = 0
    """What did not fit into the record, and followed what is here."""


def stable(nodeid: str) -> str:
    """An id without memory addresses, which differ from run to run."""
    return _ADDRESS.sub("0x", nodeid)


def worst(outcomes: Iterable[str]) -> str:
    """The worst of several; a test that ran twice counts as its worse run."""
    return max(outcomes, key=OUTCOMES.index)


def read_stream(events: Iterable[Mapping[str, Any]] | Path) -> Stream:
    """Events, or a file of them, as a stream. Raises ParseError."""
    return parse(decoded(events) if isinstance(events, Path) else events)


def decoded(file: Path) -> Iterator[Mapping[str, Any]]:
    """One event after the other: the memory of a line is free before the next one is read."""
    taken = 0
    with file.open("rb") as stream:
        for count, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b"")):
            taken += len(line)
            if len(line) > MAX_LINE_BYTES or count >= MAX_EVENTS or taken > MAX_BYTES:
                raise ParseError(
                    f"more than {MAX_EVENTS} events, {MAX_BYTES} bytes,"
                    f" or {MAX_LINE_BYTES} bytes in one event"
                )
            yield mapping(json.loads(line))


@guarded
def parse(events: Iterable[Mapping[str, Any]]) -> Stream:
    """Raises ParseError for a stream that no session of ours writes."""
    reader = _Reader()
    for event in events:
        reader.take(event)
    return reader.stream()


class _Reader:
    def __init__(self) -> None:
        self.collected: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.details: dict[str, str] = {}
        self.started: dict[str, None] = {}
        self.errors: list[tuple[str, str]] = []
        self.exit_code: int | None = None
        self.equals: set[tuple[str, str]] = set()
        self.dropped_bytes = 0

    def take(self, event: Mapping[str, Any]) -> None:
        if self.exit_code is not None:
            raise ParseError("an event after the session's end")
        kind = text(event["kind"], 20)
        if kind == "collected":
            self.collected += [text(item, 4096) for item in sequence(list(event["ids"]))]
        elif kind == "started":
            self._started(text(event["id"], 4096))
        elif kind == "finished":
            self._finished(
                text(event["id"], 4096), text(event["outcome"], 20), text(event.get("detail", ""))
            )
        elif kind == "error":
            self.errors.append((text(event.get("id", ""), 4096), text(event.get("detail", ""))))
        elif kind == "equals":
            self.equals.add((text(event["path"], 4096), text(event["name"], 4096)))
        elif kind == "session":
            self.exit_code = integer(event["exit_code"])
        elif kind == "dropped":
            self.dropped_bytes = integer(event["bytes"], 1)
        else:
            raise ParseError(f"an event of kind {kind!r}")

    def _started(self, nodeid: str) -> None:
        self.started[nodeid] = None

    def _finished(self, nodeid: str, outcome: str, detail: str) -> None:
        if nodeid not in self.started or outcome not in OUTCOMES:
            raise ParseError(f"test {nodeid[:200]!r} cannot end like this")
        self.outcomes[nodeid] = worst((self.outcomes.get(nodeid, outcome), outcome))
        if detail:
            self.details[nodeid] = detail

    def stream(self) -> Stream:
        unfinished = tuple(nodeid for nodeid in self.started if nodeid not in self.outcomes)
        return Stream(
            collected=tuple(self.collected),
            outcomes=self.outcomes,
            details=self.details,
            unfinished=unfinished,
            errors=tuple(self.errors),
            session_exit_code=self.exit_code,
            equals=frozenset(self.equals),
            dropped_bytes=self.dropped_bytes,
        )

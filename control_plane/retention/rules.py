"""How long what is kept, and what a document names (pure)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

_NAME = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
HELD = timedelta(days=1)
"""So long after it was dropped, what a base result names is still there: somebody may read it."""


class Kind(StrEnum):
    """As what a blob is kept, the strongest reason first."""

    LIVE = "live runs"
    ENVIRONMENT = "environments"
    SNAPSHOT = "snapshots"
    BASE = "base results"
    PATCH = "patches"
    DOCUMENT = "documents"
    REPORT = "reports"
    JUDGED_IN = "environments of reports"
    CAPSULE = "capsules"
    LOG = "logs"
    OUTPUT = "outputs"
    INPUT = "inputs"
    INSIDE = "named in a report or a capsule"
    UNNAMED = "named by nothing"


@dataclass(frozen=True, slots=True)
class Keep:
    """Ages, counted from the end of a run, from the last use, or from the last put."""

    results: timedelta
    """Patches, documents, reports and capsules, and what reports and capsules name.

    A report names its environment by the hash of the list of its layers: they stay with it.
    """
    logs: timedelta
    outputs: timedelta
    """What stages left, and what was made for them (deltas)."""
    prepared: timedelta
    """Environments and snapshots since their last use; base results since they were made."""
    unnamed: timedelta
    """What no row names: uploads, and what is written before the row that names it."""

    def of(self, kind: Kind) -> timedelta:
        """How long after the end of its run a blob of that kind is kept."""
        return {
            Kind.PATCH: self.results,
            Kind.DOCUMENT: self.results,
            Kind.REPORT: self.results,
            Kind.JUDGED_IN: self.results,
            Kind.CAPSULE: self.results,
            Kind.LOG: self.logs,
        }.get(kind, self.outputs)


class Name(NamedTuple):
    """A row names a blob. `since`: when that began to matter less; None: it does not."""

    kind: Kind
    sha256: str
    since: datetime | None


@dataclass(slots=True)
class Tally:
    """How much of something."""

    blobs: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """One more."""
        self.blobs, self.size_bytes = self.blobs + 1, self.size_bytes + size_bytes


@dataclass(slots=True)
class Marks:
    """Which blobs are wanted, and as what others were."""

    wanted: dict[str, Kind] = field(default_factory=dict)
    past: dict[str, Kind] = field(default_factory=dict)
    documents: set[str] = field(default_factory=set)
    """Wanted reports and capsules: what they name inside is wanted, too."""

    def add(self, name: Name, keep: Keep, now: datetime) -> None:
        """Of several reasons the strongest tells the kind, and one that holds is enough."""
        held = name.since is None or name.since + keep.of(name.kind) > now
        marked = self.wanted if held else self.past
        if held and name.kind in (Kind.REPORT, Kind.CAPSULE):
            self.documents.add(name.sha256)
        before = marked.get(name.sha256, Kind.UNNAMED)
        marked[name.sha256] = min(before, name.kind, key=_STRENGTH.__getitem__)


_STRENGTH: Mapping[Kind, int] = {kind: number for number, kind in enumerate(Kind)}


def names_in(content: bytes) -> Iterable[str]:
    """Everything in a document that may be a blob's name: too much is harmless, too little not."""
    return {found.decode() for found in _NAME.findall(content)}

"""A door's sinks in memory, and a door to try, for tests that need no database."""

import asyncio
import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from control_plane.gateway.access import DoorAccess
from control_plane.gateway.grants import GRANTS
from control_plane.gateway.numbering import fresh
from control_plane.gateway.ports import (
    Accepted,
    Chunk,
    Invalid,
    Position,
    Refused,
    StreamCaps,
    SubmitsSealed,
    TooManyAttempts,
)
from control_plane.sessions.documents import wrong_with
from control_plane.sessions.submissions import Submitted, accepted, refusal, rejected
from runners.protocol import Stream
from sandboxes.doors import DoorDirectory


class MemoryChunks:
    """Log chunks by sandbox."""

    def __init__(self) -> None:
        self.kept: dict[UUID, list[Chunk]] = defaultdict(list)
        self.positions: dict[UUID, Mapping[Stream, Position]] = defaultdict(dict)
        self.asked = 0
        self._lock = asyncio.Lock()

    async def append(
        self, sandbox_id: UUID, chunks: Sequence[Chunk], caps: StreamCaps
    ) -> Mapping[Stream, Position]:
        """Keep what is new."""
        self.asked += 1
        async with self._lock:
            rows, after = fresh(self.positions[sandbox_id], chunks, caps)
            await self.keep(sandbox_id, rows)
            self.positions[sandbox_id] = after
        return after

    async def keep(self, sandbox_id: UUID, rows: Sequence[Chunk]) -> None:
        """The moment of truth."""
        self.kept[sandbox_id].extend(rows)

    def text(self, sandbox_id: UUID, stream: Stream) -> bytes:
        """A stream as it reads."""
        return b"".join(chunk.data for chunk in self.kept[sandbox_id] if chunk.stream == stream)


class MemorySubmissions:
    """Documents under one schema."""

    def __init__(self, schema: Mapping[str, object]) -> None:
        self.schema, self.so_far, self.ended = schema, Submitted(), False

    async def submit(
        self, run_id: UUID, sandbox_id: UUID, content: bytes
    ) -> Accepted | Invalid | Refused:
        """The same decisions as over the database."""
        sha256 = hashlib.sha256(content).hexdigest()
        if self.ended:
            raise SubmitsSealed
        if why := refusal(self.so_far, sha256):
            return Refused(why)
        if wrong := wrong_with(content, self.schema):
            self.so_far = rejected(self.so_far)
            return Invalid(tuple(wrong), self.so_far.tries_left)
        self.so_far = accepted(self.so_far, sha256)
        return Accepted(sha256)


class MemoryCapsules:
    """Capsules by name."""

    def __init__(self, **kept: bytes) -> None:
        self.kept = kept

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """In one block."""
        yield self.kept[sha256]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One audited attempt to get out."""

    run_id: UUID
    sandbox_id: UUID
    destination: str
    allowed: bool
    rule: str


class MemoryAudit:
    """Attempts in the order they were made."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self._of: Counter[UUID] = Counter()

    async def egress(
        self,
        run_id: UUID,
        sandbox_id: UUID,
        destination: str,
        *,
        allowed: bool,
        rule: str,
        most: int,
    ) -> None:
        """Note it."""
        if self._of[sandbox_id] >= most:
            raise TooManyAttempts("too many egress attempts in this sandbox")
        self._of[sandbox_id] += 1
        self.attempts.append(Attempt(run_id, sandbox_id, destination, allowed, rule))


def access(stage: str = "head", **fields: object) -> DoorAccess:
    """The access of some sandbox in that stage; its capsule is `capsule`."""
    given = {"run_id": uuid4(), "sandbox_id": uuid4(), "verbs": GRANTS[stage], "capsule": "capsule"}
    return DoorAccess(**given | fields)  # type: ignore[arg-type]  # a test's own words


def directory(guest: int | None = None) -> DoorDirectory:
    """A door's directory as a provider makes it."""
    made = DoorDirectory(Path(tempfile.mkdtemp(prefix="vsc-door-")) / "door", guest)
    made.make()
    return made

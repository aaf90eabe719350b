"""What a door needs of the house: a place for chunks, capsules, and a record of every way out."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from control_plane.sessions.documents import Wrong
from runners.protocol import Stream


@dataclass(frozen=True, slots=True)
class Chunk:
    """A numbered piece of one stream."""

    stream: Stream
    seq: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream has come."""

    next: int = 0
    """The number that the next chunk must have."""
    size_bytes: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class StreamCaps:
    """What is kept of one sandbox's streams."""

    size_bytes: Mapping[Stream, int]
    """Bytes by stream; a stream that is not named is refused."""
    rows: int


class ChunkSink(Protocol):
    """Where log chunks are kept, and how far each stream has come."""

    async def append(
        self, sandbox_id: UUID, chunks: Sequence[Chunk], caps: StreamCaps
    ) -> Mapping[Stream, Position]:
        """Keep what is new of `chunks`, all or none; where the streams stand now.

        When it returns, they have been committed: only then is a chunk acknowledged. Two gateways
        that are sent the same chunks at once keep them once.

        Raises:
            Gap, StreamFull: see `numbering.fresh`; nothing was kept.
            StreamsSealed: the sandbox has ended.
        """


class StreamsSealed(Exception):
    """The sandbox has ended and its log is complete; nothing more is kept of it."""


class Capsules(Protocol):
    """Where capsules lie: `Blobs`, or what can do as much."""

    def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The capsule's bytes, block by block. Raises `sandboxes.errors.BlobMissing`."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A document that satisfies its schema; it is the session's product until another is."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """A document that does not."""

    wrong: tuple[Wrong, ...]
    tries_left: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that was not looked at."""

    why: str


class SubmitsSealed(Exception):
    """The sandbox has ended; nothing more is taken of it."""


class Submissions(Protocol):
    """Where a session's documents go."""

    async def submit(
        self, run_id: UUID, sandbox_id: UUID, content: bytes
    ) -> Accepted | Invalid | Refused:
        """Check the document, and keep it if it is valid. What is answered has been committed.

        Raises SubmitsSealed.
        """


class TooManyAttempts(Exception):
    """The sandbox has used up its attempts to leave; further ones are refused without a record."""


class AuditSink(Protocol):
    """The record of what a sandbox tried to reach. It is written before the door answers."""

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
        """One attempt: where to, whether it was let through, and the rule that said so.

        Raises TooManyAttempts past `most` attempts of the sandbox, counted over every gateway.
        """

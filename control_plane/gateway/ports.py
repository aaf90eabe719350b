"""What a door needs of the house: places for log chunks and outputs, and an audit of every way out that was tried."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from runners.protocol import Stream
from sandboxes.spec import Artifact


@dataclass(frozen=True, slots=True)
class Chunk:
    """A numbered piece of one stream."""

    stream: Stream
    seq: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream has come: the number that the next chunk must have, and the bytes kept so far."""

    next: int = 0
    size_bytes: int = 0


class ChunkSink(Protocol):
    """Where log chunks are kept. When `append` returns, they have been committed: only then is a chunk acknowledged."""

    async def positions(self, sandbox_id: UUID) -> Mapping[Stream, Position]:
        """What is kept of each stream already; a door that opens again after a restart goes on from here."""

    async def append(self, sandbox_id: UUID, chunks: Sequence[Chunk]) -> None:
        """Keep chunks that the door has checked and numbered: all of them, or (an exception) none."""


class OutputSink(Protocol):
    """Where the bytes of a declared output go."""

    async def put(self, sandbox_id: UUID, name: str, source: AsyncIterator[bytes], max_bytes: int) -> Artifact:
        """Keep the bytes, whole or not at all. Raises `sandboxes.errors.TooLarge` past `max_bytes`."""


class AuditSink(Protocol):
    """The record of what a sandbox tried to reach. It is written before the door answers."""

    async def egress(self, run_id: UUID, sandbox_id: UUID, destination: str, *, allowed: bool, rule: str) -> None:
        """One attempt: where to, whether it was let through, and the rule that said so."""

"""Whose door it is, and what a door needs of the house: places for chunks and outputs, and an audit of every way out."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from runners.protocol import Stream
from sandboxes.spec import Artifact

_STREAM_CAPS_BYTES: Mapping[Stream, int] = {
    "stdout": 16 * 2**20,
    "stderr": 16 * 2**20,
    "tests": 64 * 2**20,
}


@dataclass(frozen=True, slots=True)
class DoorAccess:
    """Whose door it is and what the stage of its sandbox allows."""

    run_id: UUID
    sandbox_id: UUID
    stage: str
    capsule: bytes
    outputs: Mapping[str, int] = field(default_factory=dict)
    """Declared output -> its byte limit; any other name is a 404."""
    egress: tuple[str, ...] = ()
    """`host:port` or `host:port,private`; only a `prepare` stage may have any."""
    stream_caps: Mapping[Stream, int] = field(default_factory=lambda: dict(_STREAM_CAPS_BYTES))
    """Bytes of each stream that are kept; a stream that is not named is refused."""

    def __post_init__(self) -> None:
        """Raises ValueError for egress in a stage that executes what was judged or will be judged."""
        if self.egress and self.stage != "prepare":
            raise ValueError(f"stage {self.stage!r} has no egress; only prepare does")


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
    """Where log chunks are kept.

    When `append` returns, they have been committed: only then is a chunk acknowledged.
    """

    async def positions(self, sandbox_id: UUID) -> Mapping[Stream, Position]:
        """What is kept of each stream already.

        A door that opens again after a restart goes on from here.
        """

    async def append(self, sandbox_id: UUID, chunks: Sequence[Chunk]) -> None:
        """Keep chunks that the door has checked and numbered: all of them, or (an exception) none."""


class OutputSink(Protocol):
    """Where the bytes of a declared output go."""

    async def put(
        self, sandbox_id: UUID, name: str, source: AsyncIterator[bytes], max_bytes: int
    ) -> Artifact:
        """Keep the bytes, whole or not at all.

        Raises `sandboxes.errors.TooLarge` past `max_bytes`.
        """


class AuditSink(Protocol):
    """The record of what a sandbox tried to reach. It is written before the door answers."""

    async def egress(
        self, run_id: UUID, sandbox_id: UUID, destination: str, *, allowed: bool, rule: str
    ) -> None:
        """One attempt: where to, whether it was let through, and the rule that said so."""

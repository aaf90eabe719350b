"""A door's sinks in memory, for tests that need no database."""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from control_plane.gateway.ports import Chunk, Position
from runners.protocol import Stream
from sandboxes.errors import TooLarge
from sandboxes.spec import Artifact


class MemoryChunks:
    """Log chunks by sandbox."""

    def __init__(self) -> None:
        self.kept: dict[UUID, list[Chunk]] = defaultdict(list)

    async def positions(self, sandbox_id: UUID) -> Mapping[Stream, Position]:
        """Counted from what is kept."""
        found: dict[Stream, Position] = {}
        for chunk in self.kept[sandbox_id]:
            at = found.get(chunk.stream, Position())
            found[chunk.stream] = Position(chunk.seq + 1, at.size_bytes + len(chunk.data))
        return found

    async def append(self, sandbox_id: UUID, chunks: Sequence[Chunk]) -> None:
        """Keep them."""
        self.kept[sandbox_id].extend(chunks)

    def text(self, sandbox_id: UUID, stream: Stream) -> bytes:
        """A stream as it reads."""
        return b"".join(chunk.data for chunk in self.kept[sandbox_id] if chunk.stream == stream)


class MemoryOutputs:
    """Outputs by sandbox and name."""

    def __init__(self) -> None:
        self.kept: dict[tuple[UUID, str], bytes] = {}

    async def put(
        self, sandbox_id: UUID, name: str, source: AsyncIterator[bytes], max_bytes: int
    ) -> Artifact:
        """Whole or not at all."""
        data = bytearray()
        async for block in source:
            data += block
            if len(data) > max_bytes:
                raise TooLarge(f"{name}: more than {max_bytes} bytes")
        self.kept[sandbox_id, name] = bytes(data)
        return Artifact(hashlib.sha256(data).hexdigest(), len(data))


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

    async def egress(
        self, run_id: UUID, sandbox_id: UUID, destination: str, *, allowed: bool, rule: str
    ) -> None:
        """Note it."""
        self.attempts.append(Attempt(run_id, sandbox_id, destination, allowed, rule))

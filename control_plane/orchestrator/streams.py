"""The numbered chunks of a dead sandbox become one blob a stream.

While it lives they are rows (DESIGN section 5).
"""

import tempfile
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.runs.models import LogChunk

STREAM_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class SealedStream:
    """All bytes of a stream as a blob.

    `complete` is False where a number is missing: what follows the gap is left out.
    """

    sha256: str
    size_bytes: int
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """For the sandbox's row."""
        return asdict(self)


async def seal_streams(
    sessions: async_sessionmaker[AsyncSession], blobs: Blobs, sandbox_id: UUID
) -> dict[str, SealedStream]:
    """Write each stream's chunks to a blob.

    The rows stay until `forget_chunks`, so that doing this twice is harmless.
    """
    async with sessions() as session:
        names = (
            await session.scalars(
                select(LogChunk.stream).where(LogChunk.sandbox_id == sandbox_id).distinct()
            )
        ).all()
    return {str(name): await _seal(sessions, blobs, sandbox_id, str(name)) for name in names}


async def _seal(
    sessions: async_sessionmaker[AsyncSession], blobs: Blobs, sandbox_id: UUID, stream: str
) -> SealedStream:
    wanted = select(LogChunk.seq, LogChunk.data).where(
        LogChunk.sandbox_id == sandbox_id, LogChunk.stream == stream
    )
    complete, expected = True, 0
    with tempfile.TemporaryFile() as whole:
        async with sessions() as session:
            async for seq, data in await session.stream(wanted.order_by(LogChunk.seq)):
                if seq != expected:
                    complete = False
                    break
                whole.write(data)
                expected += 1
        whole.seek(0)
        artifact = await blobs.put(cast("BinaryIO", whole), STREAM_BYTES)
    return SealedStream(artifact.sha256, artifact.size_bytes, complete)


async def forget_chunks(session: AsyncSession, sandbox_id: UUID) -> None:
    """Delete the rows of a sandbox whose streams are sealed."""
    await session.execute(delete(LogChunk).where(LogChunk.sandbox_id == sandbox_id))

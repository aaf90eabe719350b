"""The numbered chunks of a dead sandbox become one blob a stream.

While it lives they are rows (DESIGN section 5).
"""

import tempfile
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast, get_args
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.runs.models import LogChunk, LogStream
from runners import protocol
from sandboxes.errors import BlobMissing

STREAM_BYTES = 256 * 2**20
TAIL_BYTES = 1500


@dataclass(frozen=True, slots=True)
class SealedStream:
    """All bytes of a stream as a blob.

    `complete` is False where rows are missing.
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

    First nothing more is taken: what a door acknowledges is in the blob. The rows stay until
    `forget_chunks`, so that doing this twice is harmless.
    """
    async with sessions.begin() as session:
        came = await _no_more(session, sandbox_id)
    return {
        stream: await _seal(sessions, blobs, sandbox_id, stream, size_bytes)
        for stream, size_bytes in came.items()
    }


async def _no_more(session: AsyncSession, sandbox_id: UUID) -> dict[str, int]:
    """Close every stream, also those that never began; the bytes of those that did."""
    rows = [
        {"sandbox_id": sandbox_id, "stream": stream, "sealed": True}
        for stream in sorted(get_args(protocol.Stream))
    ]
    sealing = insert(LogStream).values(rows)
    closed = sealing.on_conflict_do_update(
        index_elements=["sandbox_id", "stream"], set_={"sealed": True}
    ).returning(LogStream.stream, LogStream.size_bytes, LogStream.next_seq)
    found = (await session.execute(closed)).all()
    return {stream: size_bytes for stream, size_bytes, next_seq in found if next_seq}


async def _seal(
    sessions: async_sessionmaker[AsyncSession],
    blobs: Blobs,
    sandbox_id: UUID,
    stream: str,
    size_bytes: int,
) -> SealedStream:
    wanted = (
        select(LogChunk.data)
        .where(LogChunk.sandbox_id == sandbox_id, LogChunk.stream == stream)
        .order_by(LogChunk.seq)
    )
    with tempfile.TemporaryFile() as whole:
        async with sessions() as session:
            async for data in await session.stream_scalars(wanted):
                whole.write(data)
        whole.seek(0)
        artifact = await blobs.put(cast("BinaryIO", whole), STREAM_BYTES)
    complete = artifact.size_bytes == size_bytes
    return SealedStream(artifact.sha256, artifact.size_bytes, complete)


async def last_words(blobs: Blobs, stream: SealedStream | None) -> str:
    """The end of a stream, for people; empty where nothing was said, or nobody has it."""
    if stream is None or not stream.size_bytes:
        return ""
    start = max(0, stream.size_bytes - TAIL_BYTES)
    try:
        tail = b"".join([one async for one in blobs.stream(stream.sha256, start)])
    except BlobMissing:
        return ""
    return tail.decode(errors="replace").strip()


async def forget_chunks(session: AsyncSession, sandbox_id: UUID) -> None:
    """Delete the rows of a sandbox whose streams are sealed and whose end is recorded."""
    for table in (LogChunk, LogStream):
        await session.execute(delete(table).where(table.sandbox_id == sandbox_id))

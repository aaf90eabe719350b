"""Where doors put things when there is a database: log chunks, outputs, and the audit of egress."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from control_plane.audit.service import append_line
from control_plane.blobs.ports import Blobs
from control_plane.db.engine import Sessions
from control_plane.gateway.ports import Chunk, Position
from control_plane.runs.models import LogChunk, Run
from runners.protocol import Stream
from sandboxes.errors import TooLarge
from sandboxes.spec import Artifact


class PostgresChunks:
    """Log chunks as rows, one commit for each request of a runner."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def positions(self, sandbox_id: UUID) -> Mapping[Stream, Position]:
        """Chunks are kept without gaps, so the highest number tells the next."""
        wanted = (
            select(LogChunk.stream, func.max(LogChunk.seq), func.sum(func.length(LogChunk.data)))
            .where(LogChunk.sandbox_id == sandbox_id)
            .group_by(LogChunk.stream)
        )
        async with self._sessions() as session:
            rows = (await session.execute(wanted)).all()
        return {
            cast("Stream", stream): Position(last + 1, int(size_bytes))
            for stream, last, size_bytes in rows
        }

    async def append(self, sandbox_id: UUID, chunks: Sequence[Chunk]) -> None:
        """All or none.

        A number that a second control plane has kept meanwhile is the same bytes of the same
        runner.
        """
        rows = [
            {"sandbox_id": sandbox_id, "stream": chunk.stream, "seq": chunk.seq, "data": chunk.data}
            for chunk in chunks
        ]
        async with self._sessions.begin() as session:
            await session.execute(insert(LogChunk).on_conflict_do_nothing(), rows)


class BlobOutputs:
    """Outputs as blobs."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put(
        self, sandbox_id: UUID, name: str, source: AsyncIterator[bytes], max_bytes: int
    ) -> Artifact:
        """What arrives is counted before anything is kept. Raises TooLarge."""
        del (
            sandbox_id
        )  # a blob has no owner: the sandbox's row names it when the provider says how it ended
        try:
            return await self._blobs.put(source, max_bytes)
        except TooLarge as error:
            raise TooLarge(f"{name}: {error}") from error


class AuditLog:
    """Egress attempts in the audit chain of the run's task (a shared run has a chain of its own)."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def egress(
        self, run_id: UUID, sandbox_id: UUID, destination: str, *, allowed: bool, rule: str
    ) -> None:
        """One line, committed when this returns."""
        async with self._sessions.begin() as session:
            task_id = await session.scalar(select(Run.task_id).where(Run.id == run_id))
            await append_line(
                session,
                chain=task_id or run_id,
                actor="door",
                action="egress.allowed" if allowed else "egress.denied",
                subject=f"run:{run_id}",
                facts={"sandbox": str(sandbox_id), "destination": destination, "rule": rule},
            )

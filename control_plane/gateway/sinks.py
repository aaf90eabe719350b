"""Where doors put things when there is a database: log chunks, and the audit of egress."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast
from uuid import UUID

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.audit.service import append_line
from control_plane.db.engine import Sessions
from control_plane.gateway.numbering import fresh
from control_plane.gateway.ports import (
    Chunk,
    Position,
    StreamCaps,
    StreamsSealed,
    TooManyAttempts,
)
from control_plane.runs.models import LogChunk, LogStream, Run, Sandbox
from control_plane.runs.rules import SandboxState
from control_plane.wake import LOGS, notify
from runners.protocol import Stream

_LIVING = (SandboxState.PLANNED, SandboxState.LAUNCHED)


class PostgresChunks:
    """Log chunks as rows, one commit for each request of a runner.

    How far a stream has come is a row, too; its lock puts requests in line, whichever gateway they
    came to.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def append(
        self, sandbox_id: UUID, chunks: Sequence[Chunk], caps: StreamCaps
    ) -> Mapping[Stream, Position]:
        """Keep what is new (`ChunkSink.append`)."""
        async with self._sessions.begin() as session:
            before = await _locked(session, sandbox_id, {chunk.stream for chunk in chunks})
            rows, after = fresh(before, chunks, caps)
            if rows:
                await _keep(session, sandbox_id, rows, after)
                await notify(session, LOGS, sandbox_id)
        return after


async def _locked(
    session: AsyncSession, sandbox_id: UUID, streams: set[Stream]
) -> dict[Stream, Position]:
    """Where the streams of a living sandbox stand, under their rows' locks until the commit."""
    living = select(Sandbox.id).where(Sandbox.id == sandbox_id, Sandbox.state.in_(_LIVING))
    # the same lock that the rows' foreign key takes; its end waits for us, or we for it
    if await session.scalar(living.with_for_update(read=True, key_share=True)) is None:
        raise StreamsSealed
    wanted = (
        select(LogStream)
        .where(LogStream.sandbox_id == sandbox_id)
        .order_by(LogStream.stream)
        .with_for_update()
    )
    found = list((await session.scalars(wanted)).all())
    if missing := streams - {cast("Stream", row.stream) for row in found}:
        await session.execute(
            postgresql.insert(LogStream).on_conflict_do_nothing(),
            [{"sandbox_id": sandbox_id, "stream": stream} for stream in sorted(missing)],
        )
        found = list((await session.scalars(wanted)).all())
    if any(row.sealed for row in found):
        raise StreamsSealed
    return {
        cast("Stream", row.stream): Position(row.next_seq, row.size_bytes, row.rows)
        for row in found
    }


async def _keep(
    session: AsyncSession,
    sandbox_id: UUID,
    rows: Iterable[Chunk],
    after: Mapping[Stream, Position],
) -> None:
    new = [
        {"sandbox_id": sandbox_id, "stream": row.stream, "seq": row.seq, "data": row.data}
        for row in rows
    ]
    await session.execute(insert(LogChunk), new)
    table = LogStream.__table__
    moved = (
        update(LogStream)
        .where(table.c.sandbox_id == sandbox_id, table.c.stream == bindparam("of"))
        .values(next_seq=bindparam("next"), size_bytes=bindparam("bytes"), rows=bindparam("count"))
    )
    connection = await session.connection()
    await connection.execute(
        moved,
        [
            {"of": row["stream"], "next": at.next, "bytes": at.size_bytes, "count": at.rows}
            for row in new
            for at in [after[cast("Stream", row["stream"])]]
        ],
    )


class AuditLog:
    """Egress attempts in the audit chain of the run's task (a shared run has its own chain)."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

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
        """One line, committed when this returns; the sandbox's row counts them."""
        async with self._sessions.begin() as session:
            counted = (
                update(Sandbox)
                .where(Sandbox.id == sandbox_id, Sandbox.egress_attempts < most)
                .values(egress_attempts=Sandbox.egress_attempts + 1)
                .returning(Sandbox.id)
            )
            if await session.scalar(counted) is None:
                raise TooManyAttempts("too many egress attempts in this sandbox")
            task_id = await session.scalar(select(Run.task_id).where(Run.id == run_id))
            await append_line(
                session,
                chain=task_id or run_id,
                actor="door",
                action="egress.allowed" if allowed else "egress.denied",
                subject=f"run:{run_id}",
                facts={"sandbox": str(sandbox_id), "destination": destination, "rule": rule},
            )

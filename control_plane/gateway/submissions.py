"""Where a session's documents go when there is a database: the bytes first, then its row."""

import asyncio
import hashlib
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.blobs.ports import Blobs
from control_plane.db.engine import Sessions
from control_plane.gateway.ports import Accepted, Invalid, Refused, SubmitsSealed
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.moves import append_event
from control_plane.runs.rules import TERMINAL, SandboxState
from control_plane.sessions.checking import checked
from control_plane.sessions.documents import DOCUMENT_BYTES, Wrong
from control_plane.sessions.models import AgentSession
from control_plane.sessions.submissions import Submitted, accepted, refusal, rejected

_LIVING = (SandboxState.PLANNED, SandboxState.LAUNCHED)
_CHECKS_AT_ONCE = 2
_TOLD_IN_EVENT = 5


class PostgresSubmissions:
    """Documents as blobs, counted and named in the session's row.

    What is looked at is looked at without a transaction; the row is asked again before it changes.
    """

    def __init__(self, sessions: Sessions, blobs: Blobs) -> None:
        self._sessions, self._blobs = sessions, blobs
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def submit(
        self, run_id: UUID, sandbox_id: UUID, content: bytes
    ) -> Accepted | Invalid | Refused:
        """Check it and keep it (`Submissions.submit`)."""
        sha256 = hashlib.sha256(content).hexdigest()
        async with self._sessions() as session:
            row = await _session_of(session, run_id, sandbox_id)
            so_far, schema = row.submitted, row.output_schema
        if why := refusal(so_far, sha256):
            return Refused(why)
        wrong = [] if sha256 == so_far.document_sha256 else await self._checked(content, schema)
        if not wrong:
            await self._blobs.put(content, DOCUMENT_BYTES)
        async with self._sessions.begin() as session:
            return await _noted(session, run_id, sandbox_id, sha256, wrong)

    async def _checked(self, content: bytes, schema: dict[str, Any] | None) -> list[Wrong]:
        async with self._checks:
            return await checked(content, schema or {})


async def _session_of(session: AsyncSession, run_id: UUID, sandbox_id: UUID) -> AgentSession:
    """The session of a living sandbox. Raises SubmitsSealed."""
    living = select(Sandbox.id).where(
        Sandbox.id == sandbox_id, Sandbox.run_id == run_id, Sandbox.state.in_(_LIVING)
    )
    # the lock that its end waits for, or we for it: what is noted here is what the end finds
    if await session.scalar(living.with_for_update(read=True, key_share=True)) is None:
        raise SubmitsSealed
    wanted = select(AgentSession).where(
        AgentSession.run_id == run_id, AgentSession.output_schema.is_not(None)
    )
    return (await session.scalars(wanted)).one()


async def _noted(
    session: AsyncSession, run_id: UUID, sandbox_id: UUID, sha256: str, wrong: list[Wrong]
) -> Accepted | Invalid | Refused:
    """The row, counted up, and the event; under the run's lock, which puts gateways in line."""
    live = select(Run.id).where(Run.id == run_id, Run.state.not_in(TERMINAL))
    if await session.scalar(live.with_for_update(key_share=True)) is None:
        raise SubmitsSealed
    row = await _session_of(session, run_id, sandbox_id)
    if why := refusal(row.submitted, sha256):
        return Refused(why)
    after = rejected(row.submitted) if wrong else accepted(row.submitted, sha256)
    if after != row.submitted:
        await _keep(session, row, after, sha256, wrong)
    return Invalid(tuple(wrong), after.tries_left) if wrong else Accepted(sha256)


async def _keep(
    session: AsyncSession, row: AgentSession, after: Submitted, sha256: str, wrong: list[Wrong]
) -> None:
    row.document_sha256 = after.document_sha256
    row.valid_submits, row.invalid_submits = after.valid, after.invalid
    await session.flush()
    if wrong:
        told = [str(one) for one in wrong[:_TOLD_IN_EVENT]]
        await append_event(
            session, row.run_id, "submit.invalid", {"wrong": told, "tries_left": after.tries_left}
        )
    else:
        await append_event(session, row.run_id, "submit.accepted", {"document": sha256})

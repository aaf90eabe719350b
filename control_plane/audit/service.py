"""Writing audit lines, in the transaction of what they record, and checking a chain."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.audit.chain import broken_at, line_sha256
from control_plane.audit.models import AuditLine
from control_plane.db.storable import storable_facts, storable_text


async def append_line(
    session: AsyncSession,
    *,
    chain: UUID,
    actor: str,
    action: str,
    subject: str,
    facts: Mapping[str, Any] | None = None,
) -> AuditLine:
    """Add the next line of `chain`.

    The chain is locked until the transaction ends. Lock rows before it (runs, then tasks), never
    after: one order, no deadlock.
    """
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:chain, 0))"),
        {"chain": f"audit:{chain}"},
    )
    last = (
        await session.execute(
            select(AuditLine.n, AuditLine.sha256)
            .where(AuditLine.chain == chain)
            .order_by(AuditLine.n.desc())
            .limit(1)
        )
    ).one_or_none()
    at: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    fields: dict[str, Any] = {
        "chain": chain,
        "n": last.n + 1 if last else 1,
        "at": at.astimezone(UTC),
        "actor": storable_text(actor),
        "action": action,
        "subject": storable_text(subject),
        "facts": storable_facts(facts or {}),
        "previous_sha256": last.sha256 if last else None,
    }
    line = AuditLine(**fields, sha256=line_sha256(**fields))
    session.add(line)
    await session.flush()
    return line


async def broken_chains(session: AsyncSession, newest: int) -> dict[UUID, int]:
    """The broken chains among those of the `newest` lines: chain -> its first bad line's number."""
    lines = select(AuditLine.chain).order_by(AuditLine.id.desc()).limit(newest).subquery()
    chains = (await session.scalars(select(lines.c.chain).distinct())).all()
    found = {chain: await first_broken_line(session, chain) for chain in chains}
    return {chain: n for chain, n in found.items() if n is not None}


async def first_broken_line(session: AsyncSession, chain: UUID) -> int | None:
    """The number of the first line of `chain` that does not follow from those before it.

    None: the chain is whole.
    """
    lines = await session.scalars(
        select(AuditLine).where(AuditLine.chain == chain).order_by(AuditLine.n)
    )
    return broken_at(lines.all())

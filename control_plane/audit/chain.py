"""The hash of an audit line, which covers the line before it. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import rfc8785

from control_plane.audit.models import AuditLine


def line_sha256(
    *,
    chain: UUID,
    n: int,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    facts: Mapping[str, Any],
    previous_sha256: str | None,
) -> str:
    """SHA-256 of the canonical form (RFC 8785) of the line and its predecessor's hash."""
    line: dict[str, Any] = {
        "chain": str(chain),
        "n": n,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": actor,
        "action": action,
        "subject": subject,
        "facts": dict(facts),
        "previous_sha256": previous_sha256,
    }
    return hashlib.sha256(rfc8785.dumps(line)).hexdigest()


def broken_at(lines: Iterable[AuditLine]) -> int | None:
    """The number of the first line, in order from 1, that does not follow from those before it.

    None: all do.
    """
    previous: str | None = None
    for n, line in enumerate(lines, start=1):
        expected = line_sha256(
            chain=line.chain,
            n=n,
            at=line.at,
            actor=line.actor,
            action=line.action,
            subject=line.subject,
            facts=line.facts,
            previous_sha256=previous,
        )
        if (line.n, line.previous_sha256, line.sha256) != (n, previous, expected):
            return n
        previous = line.sha256
    return None

"""The audit log. Triggers refuse every change of an audit line (migration 0001)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, Key, sha256_check


class AuditLine(Base):
    """One decision. `chain` is the task (of a shared run: the run).

    `sha256` covers every other field and `previous_sha256`, so a line cannot be changed, dropped or
    slipped in unseen.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        UniqueConstraint("chain", "n"),
        CheckConstraint("n >= 1", name="n_from_one"),
        CheckConstraint("(n = 1) = (previous_sha256 IS NULL)", name="first_has_no_previous"),
        sha256_check("sha256"),
        sha256_check("previous_sha256"),
    )

    id: Mapped[Key]
    chain: Mapped[UUID]
    n: Mapped[int]
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    """`run:<id>`, `task:<id>`..."""
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    previous_sha256: Mapped[str | None]
    sha256: Mapped[str]

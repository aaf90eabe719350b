"""Gate reports and their findings (DESIGN section 7)."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, enum_of
from quality_gates.model import Severity, Verdict


class GateReportRow(Base):
    """What one gate found in one attempt of one judgement.

    `run_id` is the judge run's.
    """

    __tablename__ = "gate_reports"
    __table_args__ = (
        UniqueConstraint("run_id", "attempt", "gate"),
        CheckConstraint("attempt >= 0", name="attempt_not_negative"),
    )

    id: Mapped[Key]
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id"), index=True)
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    gate: Mapped[str]
    verdict: Mapped[Verdict] = mapped_column(enum_of(Verdict, "verdict"))
    applicable: Mapped[bool] = mapped_column(default=True)
    reasons: Mapped[list[Any]] = mapped_column(default=list)
    report: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]


class FindingRow(Base):
    """One thing that a tool says of one place."""

    __tablename__ = "findings"

    id: Mapped[Key]
    gate_report_id: Mapped[UUID] = mapped_column(
        ForeignKey("gate_reports.id", ondelete="CASCADE"), index=True
    )
    rule: Mapped[str]
    severity: Mapped[Severity] = mapped_column(enum_of(Severity, "severity"))
    path: Mapped[str]
    line: Mapped[int]
    message: Mapped[str]
    fingerprint: Mapped[str]
    new: Mapped[bool]
    blocks: Mapped[bool]
    suppressed: Mapped[bool] = mapped_column(default=False)
    cwe: Mapped[str | None]

"""Context escalations (SPEC section 4.4)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, enum_of
from control_plane.escalations.rules import IssueType


class ContextEscalation(Base):
    """A question that an agent could not answer from its packet. `to_agent_id` None: a person."""

    __tablename__ = "context_escalations"
    __table_args__ = (
        CheckConstraint(
            "(resolution IS NULL) = (resolved_at IS NULL)", name="resolved_with_resolution"
        ),
    )

    id: Mapped[Key]
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id"), index=True)
    from_agent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    to_agent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    issue_type: Mapped[IssueType] = mapped_column(enum_of(IssueType, "issue_type"))
    question: Mapped[str]
    resolution: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]

"""Tasks (SPEC section 4.3)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.agents.rules import Role
from control_plane.db.base import Base, CreatedAt, Key, enum_of, sha256_check
from control_plane.packets.rules import Priority
from control_plane.tasks.rules import TaskStatus
from quality_gates.model import TaskType


class Task(Base):
    """One piece of work. `status` changes only through `control_plane.tasks.moves.move_task`."""

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint("complexity_score BETWEEN 0 AND 100", name="complexity_score_range"),
        CheckConstraint("retry_count >= 0", name="retry_count_not_negative"),
        CheckConstraint("patch_sha256 IS NULL OR driver IS NULL", name="patch_or_driver"),
        CheckConstraint("deadline_s > 0", name="deadline_s_positive"),
        sha256_check("patch_sha256"),
        sha256_check("request_sha256"),
        Index("ix_tasks_status_id", "status", "id"),
    )

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    module_id: Mapped[UUID | None] = mapped_column(ForeignKey("modules.id"), index=True)
    """None: a change that a person brought (`vsc check`); it belongs to no project."""
    assigned_to_agent: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    required_role: Mapped[Role | None] = mapped_column(enum_of(Role, "required_role"))
    complexity_score: Mapped[int | None]
    task_type: Mapped[TaskType] = mapped_column(enum_of(TaskType, "task_type"))
    context_packet: Mapped[dict[str, Any] | None]
    """A snapshot of the packet that the task runs under; the packet itself is in `packets`."""
    status: Mapped[TaskStatus] = mapped_column(
        enum_of(TaskStatus, "status"), default=TaskStatus.QUEUED
    )
    retry_count: Mapped[int] = mapped_column(default=0, server_default="0")

    priority: Mapped[Priority] = mapped_column(
        enum_of(Priority, "priority"), default=Priority.MEDIUM
    )
    repo_id: Mapped[UUID | None] = mapped_column(ForeignKey("repos.id"), index=True)
    base_commit: Mapped[str | None]
    packet_id: Mapped[UUID | None] = mapped_column(ForeignKey("packets.id"), index=True)
    patch_sha256: Mapped[str | None]
    """The change that was brought; None: a session makes it."""
    driver: Mapped[dict[str, Any] | None]
    """What a session of the task runs (`control_plane.sessions.drivers`)."""
    policy: Mapped[dict[str, Any] | None]
    """What the gates are asked of its changes, leave to change tests included.

    Frozen at submission (`control_plane.judgements.policies`).
    """
    deadline_s: Mapped[float | None]
    request_sha256: Mapped[str | None]
    """Of the submission, so that an Idempotency-Key finds the same one only."""
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

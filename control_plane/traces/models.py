"""Traces and their steps (SPEC section 4.5)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, enum_of
from control_plane.traces.rules import ActionType


class Trace(Base):
    """A chain of reasoning across agents and tools."""

    __tablename__ = "traces"

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id"), index=True)
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id"), index=True)
    root_agent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    final_outcome: Mapped[str | None]
    termination_reason: Mapped[str | None]
    created_at: Mapped[CreatedAt]


class TraceStep(Base):
    """One step: a thought, a tool call, its result..."""

    __tablename__ = "trace_steps"
    __table_args__ = (
        UniqueConstraint("trace_id", "step_number"),
        CheckConstraint("step_number >= 0", name="step_number_not_negative"),
    )

    id: Mapped[Key]
    trace_id: Mapped[UUID] = mapped_column(ForeignKey("traces.id"))
    step_number: Mapped[int]
    timestamp: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    agent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    action_type: Mapped[ActionType] = mapped_column(enum_of(ActionType, "action_type"))
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)

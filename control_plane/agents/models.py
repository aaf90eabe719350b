"""The workforce registry (SPEC section 4.1)."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.agents.rules import AgentStatus, Role
from control_plane.db.base import Base, CreatedAt, Key, enum_of


class Agent(Base):
    """An agent: a role, a specialization and a model configuration. It has no process."""

    __tablename__ = "agents"
    __table_args__ = (
        CheckConstraint("total_cost_incurred >= 0", name="total_cost_incurred_not_negative"),
        CheckConstraint("intervention_count >= 0", name="intervention_count_not_negative"),
        CheckConstraint("reports_to <> id", name="reports_to_another"),
    )

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(enum_of(Role, "role"))
    specialization: Mapped[str | None]
    status: Mapped[AgentStatus] = mapped_column(
        enum_of(AgentStatus, "status"), default=AgentStatus.IDLE
    )
    model_config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    total_cost_incurred: Mapped[Decimal] = mapped_column(
        Numeric(14, 6), default=Decimal(0), server_default="0"
    )
    intervention_count: Mapped[int] = mapped_column(default=0, server_default="0")
    reports_to: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    created_at: Mapped[CreatedAt]

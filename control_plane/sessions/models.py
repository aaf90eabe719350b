"""What a session is: its driver, its product, its metrics (SPEC section 5.8)."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Numeric, Text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, enum_of, sha256_check
from control_plane.sessions.rules import SessionStatus
from control_plane.sessions.submissions import Submitted


class AgentSession(Base):
    """One agent working once (1:1 with its run). The product is a patch or a document."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("code_quality_score BETWEEN 0 AND 100", name="code_quality_score_range"),
        CheckConstraint(
            "tokens_input >= 0 AND tokens_output >= 0 AND execution_time_ms >= 0"
            " AND estimated_cost_usd >= 0 AND context_request_count >= 0",
            name="metrics_not_negative",
        ),
        CheckConstraint("patch_sha256 IS NULL OR document_sha256 IS NULL", name="one_product"),
        CheckConstraint("valid_submits >= 0 AND invalid_submits >= 0", name="submits_not_negative"),
        sha256_check("patch_sha256"),
        sha256_check("document_sha256"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    agent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    packet_id: Mapped[UUID | None] = mapped_column(ForeignKey("packets.id"), index=True)
    driver: Mapped[dict[str, Any]]
    """What the agent is (`control_plane.sessions.drivers`)."""
    output_schema: Mapped[dict[str, Any] | None]
    """The JSON Schema of the document that is wanted; None: a patch is wanted."""
    environment_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("environments.id", ondelete="SET NULL"), index=True
    )
    head_tree: Mapped[str | None]
    patch_sha256: Mapped[str | None]
    """What the agent left, finished or not."""
    refused: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default="{}")
    """What the agent left and no patch carries, with the reasons."""
    document_sha256: Mapped[str | None]
    """While it lives, the newest valid document that it submitted."""
    valid_submits: Mapped[int] = mapped_column(default=0, server_default="0")
    invalid_submits: Mapped[int] = mapped_column(default=0, server_default="0")
    status: Mapped[SessionStatus | None] = mapped_column(enum_of(SessionStatus, "status"))
    """None: it has not ended, or nobody can tell how."""
    tokens_input: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    tokens_output: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    execution_time_ms: Mapped[int | None] = mapped_column(BigInteger)
    estimated_cost_usd: Mapped[Decimal] = mapped_column(
        Numeric(14, 6), default=Decimal(0), server_default="0"
    )
    context_request_count: Mapped[int] = mapped_column(default=0, server_default="0")
    code_quality_score: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    created_at: Mapped[CreatedAt]

    @property
    def submitted(self) -> Submitted:
        """What it has handed in through its door."""
        return Submitted(self.document_sha256, self.valid_submits, self.invalid_submits)

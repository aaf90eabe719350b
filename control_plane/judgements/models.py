"""What a judgement is: a patch, what the gates are asked of it, and the report."""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, sha256_check


class Judgement(Base):
    """What the gates find of one patch (1:1 with its run)."""

    __tablename__ = "judgements"
    __table_args__ = (
        CheckConstraint("attempt >= 0", name="attempt_not_negative"),
        sha256_check("patch_sha256"),
        sha256_check("report_sha256"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("sessions.run_id"), index=True)
    """The session that made the patch; None: somebody brought it."""
    patch_sha256: Mapped[str]
    head_tree: Mapped[str | None]
    """The tree of base and patch. None: it has not been made yet."""
    refused: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default="{}")
    """What of the change cannot be judged, with the reasons."""
    policy: Mapped[dict[str, Any]]
    """What the gates are asked (`control_plane.judgements.policies`)."""
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often the platform has judged again by itself, as the verdict was undecided."""
    environment_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("environments.id", ondelete="SET NULL"), index=True
    )
    report_sha256: Mapped[str | None]
    created_at: Mapped[CreatedAt]

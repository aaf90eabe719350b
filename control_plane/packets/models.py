"""Stored ContextPackets. A trigger refuses every change of a stored document (migration 0001)."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, sha256_check


class Packet(Base):
    """One packet: its document, the hash of the canonical form, and the packet it was made from."""

    __tablename__ = "packets"
    __table_args__ = (sha256_check("sha256"),)

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    """SPEC's `packet_id`."""
    sha256: Mapped[str]
    document: Mapped[dict[str, Any]]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("packets.id"), index=True)
    created_at: Mapped[CreatedAt]

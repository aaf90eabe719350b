"""Tokens of the operator API; only their hashes are kept."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, sha256_check


class ApiToken(Base):
    """A token of one operator or program. The token itself is shown once and never stored."""

    __tablename__ = "api_tokens"
    __table_args__ = (sha256_check("token_sha256"),)

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

"""Repositories, and the environments that were prepared for them."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, sha256_check


class Repo(Base):
    """A repository that the platform holds a bare mirror of. `source` is where it came from."""

    __tablename__ = "repos"

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    created_at: Mapped[CreatedAt]


class EnvironmentRow(Base):
    """Installed dependencies as one archive: looked up by `cache_key`, identified by `archive_sha256`."""

    __tablename__ = "environments"
    __table_args__ = (sha256_check("archive_sha256"),)

    id: Mapped[Key]
    cache_key: Mapped[str] = mapped_column(unique=True)
    archive_sha256: Mapped[str]
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", use_alter=True), index=True)
    created_at: Mapped[CreatedAt]

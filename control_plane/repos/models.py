"""Repositories, the archives of their commits, and the environments prepared for them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, sha256_check


class Repo(Base):
    """A repository that the platform holds a bare mirror of. `source` is where it came from."""

    __tablename__ = "repos"

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    created_at: Mapped[CreatedAt]


class Snapshot(Base):
    """The archive of a commit: the blob that every run on it starts from."""

    __tablename__ = "snapshots"
    __table_args__ = (sha256_check("archive_sha256"),)

    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)
    archive_sha256: Mapped[str]
    archive_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]
    used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When somebody last asked for it: what is unused for long may be collected."""


class EnvironmentRow(Base):
    """Installed dependencies as layers: looked up by `cache_key`, identified by `sha256`."""

    __tablename__ = "environments"
    __table_args__ = (sha256_check("sha256"),)

    id: Mapped[Key]
    cache_key: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str]
    """Of the list of layers."""
    layers: Mapped[list[Any]]
    """Blobs: packed archives, in order."""
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", use_alter=True), index=True)
    created_at: Mapped[CreatedAt]
    used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When somebody last asked for it: what is unused for long may be collected."""

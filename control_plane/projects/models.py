"""Projects and modules (SPEC section 4.2)."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, enum_of
from control_plane.projects.rules import ModuleStatus, ProjectStatus


class Project(Base):
    """What a client asked for, as a whole."""

    __tablename__ = "projects"

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    client_name: Mapped[str]
    status: Mapped[ProjectStatus] = mapped_column(
        enum_of(ProjectStatus, "status"), default=ProjectStatus.PLANNED
    )
    created_at: Mapped[CreatedAt]


class Module(Base):
    """A part of a project with one owner."""

    __tablename__ = "modules"
    __table_args__ = (CheckConstraint("parent_module_id <> id", name="parent_is_another"),)

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(unique=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    owner_agent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    parent_module_id: Mapped[UUID | None] = mapped_column(ForeignKey("modules.id"), index=True)
    tech_stack: Mapped[list[Any]] = mapped_column(default=list)
    constraints: Mapped[list[Any]] = mapped_column(default=list)
    docs_refs: Mapped[list[Any]] = mapped_column(default=list)
    status: Mapped[ModuleStatus] = mapped_column(
        enum_of(ModuleStatus, "status"), default=ModuleStatus.PLANNED
    )
    created_at: Mapped[CreatedAt]

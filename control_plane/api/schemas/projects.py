"""Projects and modules on the wire."""

from typing import Any
from uuid import UUID

from pydantic import Field

from control_plane.api.schemas.base import KeyText, Line, StrictModel, ViewModel
from control_plane.projects.rules import ModuleStatus, ProjectStatus


class NewProject(StrictModel):
    """A project to make."""

    key: KeyText
    name: Line
    client_name: Line


class ProjectView(ViewModel):
    """A project."""

    id: UUID
    key: str
    name: str
    client_name: str
    status: ProjectStatus


class NewModule(StrictModel):
    """A module to make; `project` and `parent` by key or id."""

    key: KeyText
    project: Line
    parent: Line | None = None
    tech_stack: list[Line] = Field(default_factory=list)
    constraints: list[Line] = Field(default_factory=list)
    docs_refs: list[Line] = Field(default_factory=list)


class ModuleView(ViewModel):
    """A module."""

    id: UUID
    key: str
    project_id: UUID
    owner_agent_id: UUID | None
    parent_module_id: UUID | None
    tech_stack: list[Any]
    constraints: list[Any]
    docs_refs: list[Any]
    status: ModuleStatus

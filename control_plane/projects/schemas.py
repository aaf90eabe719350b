"""Projects and modules on the wire."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

from control_plane.projects.rules import ModuleStatus, ProjectStatus

KeyText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class StrictModel(BaseModel):
    """What comes in: no unknown field, no value of a neighbouring type."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ViewModel(BaseModel):
    """What goes out, read from a row."""

    model_config = ConfigDict(from_attributes=True)


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
    tech_stack: list[Line] = []
    constraints: list[Line] = []
    docs_refs: list[Line] = []


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

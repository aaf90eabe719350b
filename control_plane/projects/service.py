"""Projects and modules: making and finding them, and those of a change that names none."""

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.base import new_id
from control_plane.db.finding import NotFound, as_id
from control_plane.projects.models import Module, Project
from control_plane.projects.rules import ProjectStatus

DEFAULT_PROJECT_KEY = "PROJ-000"
DEFAULT_MODULE_KEY = "LOCAL-000"


class KeyTaken(Exception):
    """Another row has this key; choose another one."""

    def __init__(self, what: str, key: str) -> None:
        super().__init__(f"there is a {what} {key} already; choose another key")


async def create_project(
    session: AsyncSession, *, key: str, name: str, client_name: str
) -> Project:
    """A planned project. Raises KeyTaken."""
    values = {
        "id": new_id(),
        "key": key,
        "name": name,
        "client_name": client_name,
        "status": ProjectStatus.PLANNED,
    }
    made: Project | None = await session.scalar(
        insert(Project).values(values).on_conflict_do_nothing().returning(Project)
    )
    if made is None:
        raise KeyTaken("project", key)
    return made


async def create_module(
    session: AsyncSession,
    project: Project,
    *,
    key: str,
    parent: Module | None = None,
    tech_stack: list[str] | None = None,
    constraints: list[str] | None = None,
    docs_refs: list[str] | None = None,
) -> Module:
    """A planned module of `project`. Raises KeyTaken."""
    values = {
        "id": new_id(),
        "key": key,
        "project_id": project.id,
        "parent_module_id": parent.id if parent else None,
        "tech_stack": tech_stack or [],
        "constraints": constraints or [],
        "docs_refs": docs_refs or [],
        "status": ProjectStatus.PLANNED,
    }
    made: Module | None = await session.scalar(
        insert(Module).values(values).on_conflict_do_nothing().returning(Module)
    )
    if made is None:
        raise KeyTaken("module", key)
    return made


async def find_project(session: AsyncSession, which: str) -> Project:
    """By key or id. Raises NotFound."""
    found = await session.scalar(
        select(Project).where(or_(Project.key == which, Project.id == as_id(which)))
    )
    if found is None:
        raise NotFound("project", which)
    return found


async def find_module(session: AsyncSession, which: str) -> Module:
    """By key or id. Raises NotFound."""
    found = await session.scalar(
        select(Module).where(or_(Module.key == which, Module.id == as_id(which)))
    )
    if found is None:
        raise NotFound("module", which)
    return found


async def default_module(session: AsyncSession) -> Module:
    """Where changes that a person brings belong; made when first needed, also by two at once."""
    project = {
        "id": new_id(),
        "key": DEFAULT_PROJECT_KEY,
        "name": "Changes brought by people",
        "client_name": "this installation",
        "status": ProjectStatus.ACTIVE,
    }
    await session.execute(insert(Project).values(project).on_conflict_do_nothing())
    owner = select(Project.id).where(Project.key == DEFAULT_PROJECT_KEY).scalar_subquery()
    module = {
        "id": new_id(),
        "key": DEFAULT_MODULE_KEY,
        "project_id": owner,
        "status": ProjectStatus.ACTIVE,
    }
    module |= {"tech_stack": [], "constraints": [], "docs_refs": []}
    await session.execute(insert(Module).values(module).on_conflict_do_nothing())
    return await find_module(session, DEFAULT_MODULE_KEY)

"""Routes of projects and modules."""

from fastapi import APIRouter, status
from sqlalchemy import select

from control_plane.api.deps import SessionDep
from control_plane.api.pages import After, Limit, Page, page_of
from control_plane.api.schemas.projects import ModuleView, NewModule, NewProject, ProjectView
from control_plane.api.strict import StrictRoute
from control_plane.projects import service
from control_plane.projects.models import Module, Project

router = APIRouter(route_class=StrictRoute)


@router.post("/projects", status_code=status.HTTP_201_CREATED, tags=["projects"])
async def create_project(new: NewProject, session: SessionDep) -> ProjectView:
    """Make a project."""
    made = await service.create_project(
        session, key=new.key, name=new.name, client_name=new.client_name
    )
    return ProjectView.model_validate(made)


@router.get("/projects", tags=["projects"])
async def list_projects(
    session: SessionDep, after: After = None, limit: Limit = 50
) -> Page[ProjectView]:
    """Projects, the newest first."""
    rows, cursor = await page_of(session, select(Project), Project.id, after, limit)
    return Page(items=[ProjectView.model_validate(row) for row in rows], next=cursor)


@router.get("/projects/{project}", tags=["projects"])
async def show_project(project: str, session: SessionDep) -> ProjectView:
    """One project, by key or id."""
    return ProjectView.model_validate(await service.find_project(session, project))


@router.post("/modules", status_code=status.HTTP_201_CREATED, tags=["modules"])
async def create_module(new: NewModule, session: SessionDep) -> ModuleView:
    """Make a module of a project."""
    project = await service.find_project(session, new.project)
    parent = await service.find_module(session, new.parent) if new.parent else None
    made = await service.create_module(
        session,
        project,
        key=new.key,
        parent=parent,
        tech_stack=new.tech_stack,
        constraints=new.constraints,
        docs_refs=new.docs_refs,
    )
    return ModuleView.model_validate(made)


@router.get("/modules", tags=["modules"])
async def list_modules(
    session: SessionDep, project: str | None = None, after: After = None, limit: Limit = 50
) -> Page[ModuleView]:
    """Modules, the newest first; of one project, if it is named."""
    query = select(Module)
    if project is not None:
        query = query.where(Module.project_id == (await service.find_project(session, project)).id)
    rows, cursor = await page_of(session, query, Module.id, after, limit)
    return Page(items=[ModuleView.model_validate(row) for row in rows], next=cursor)


@router.get("/modules/{module}", tags=["modules"])
async def show_module(module: str, session: SessionDep) -> ModuleView:
    """One module, by key or id."""
    return ModuleView.model_validate(await service.find_module(session, module))

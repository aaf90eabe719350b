"""Routes of repositories, and of the bytes that a submission names."""

from fastapi import APIRouter, HTTPException, Request, status
from sqlalchemy import select

from control_plane.api.deps import ServicesDep, SessionDep
from control_plane.api.pages import After, Limit, Page, page_of
from control_plane.api.schemas.repositories import (
    FromPath,
    ImportedRepository,
    NewRepository,
    RepositoryView,
    UploadView,
)
from control_plane.api.strict import StrictRoute
from control_plane.repos import service
from control_plane.repos.models import Repo
from sandboxes.errors import TooLarge

router = APIRouter(route_class=StrictRoute, tags=["repositories"])


@router.post("/repositories", status_code=status.HTTP_201_CREATED)
async def import_repository(new: NewRepository, services: ServicesDep) -> ImportedRepository:
    """Import from a path of this machine, an uploaded archive, or https.

    A known key takes what is new.
    """
    if isinstance(new.source, FromPath) and not services.local_paths:
        raise HTTPException(
            403, "this server does not import from its own directories; upload an archive instead"
        )
    repo, head = await service.import_repository(
        services.sessions, services.mirrors, services.blobs, new.key, new.source.inside()
    )
    return ImportedRepository(id=repo.id, key=repo.key, source=repo.source, head=head)


@router.get("/repositories")
async def list_repositories(
    session: SessionDep, after: After = None, limit: Limit = 50
) -> Page[RepositoryView]:
    """Repositories, the newest first."""
    rows, cursor = await page_of(session, select(Repo), Repo.id, after, limit)
    return Page(items=[RepositoryView.model_validate(row) for row in rows], next=cursor)


@router.get("/repositories/{repository}")
async def show_repository(repository: str, session: SessionDep) -> RepositoryView:
    """One repository, by key or id."""
    return RepositoryView.model_validate(await service.find_repository(session, repository))


@router.post("/blobs", status_code=status.HTTP_201_CREATED, tags=["blobs"])
async def upload(request: Request, services: ServicesDep) -> UploadView:
    """Keep a patch or an archive, so that a submission can name it by its sha256."""
    try:
        kept = await services.blobs.put(request.stream(), services.upload_bytes)
    except TooLarge as error:
        raise HTTPException(413, f"an upload has at most {services.upload_bytes} bytes") from error
    return UploadView(sha256=kept.sha256, size_bytes=kept.size_bytes)

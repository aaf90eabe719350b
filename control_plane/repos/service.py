"""Repositories as rows: a key, where it came from, and the mirror that carries the row's id."""

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.blobs.files import temporary_file
from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.db.engine import Sessions
from control_plane.db.finding import NotFound, as_id
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.models import Repo
from control_plane.repos.sources import FromHttps, FromPath, Source


async def import_repository(
    sessions: Sessions,
    mirrors: Mirrors,
    blobs: Blobs,
    key: str,
    source: Source,
) -> tuple[Repo, str]:
    """The repository under `key`, and the commit of its HEAD, or the one that `source` names.

    Importing again takes what is new.

    The row comes first, as the mirror carries its id; no transaction is open while git works.
    Raises RepositoryError, ArchiveRefused, AddressRefused, BlobMissing.
    """
    described = str(source)
    async with sessions.begin() as session:
        row = {"id": new_id(), "key": key, "source": described}
        await session.execute(insert(Repo).values(row).on_conflict_do_nothing())
        repo = await find_repository(session, key)
    repo_id = repo.id.hex
    if isinstance(source, FromPath):
        if source.commit is not None:
            await mirrors.take_commit(repo_id, source.path, source.commit)
            return repo, source.commit
        return repo, await mirrors.import_path(repo_id, source.path)
    if isinstance(source, FromHttps):
        return repo, await mirrors.fetch_https(repo_id, source.url, source.ref)
    async with temporary_file(blobs, source.sha256) as archive:
        return repo, await mirrors.import_archive(
            repo_id, archive, source.parent, f"Import of {described}"
        )


async def find_repository(session: AsyncSession, which: str) -> Repo:
    """By key or id. Raises NotFound."""
    found = await session.scalar(
        select(Repo).where(or_(Repo.key == which, Repo.id == as_id(which)))
    )
    if found is None:
        raise NotFound("repository", which)
    return found

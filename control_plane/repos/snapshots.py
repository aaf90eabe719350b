"""Base snapshots: one archive per commit, made once, what every run on that commit starts from."""

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, cast
from uuid import UUID

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.repos.git import OBJECT_ID, RepositoryError
from control_plane.repos.kept import CommitMissing
from control_plane.repos.mirrors import Mirrors, file_lock
from control_plane.repos.models import Snapshot
from control_plane.repos.snapshot_archive import read_git, write_snapshot
from sandboxes.errors import BlobMissing
from sandboxes.ports import Depot
from sandboxes.spec import Artifact

MAX_ARCHIVE_BYTES = 8 * 2**30


class Snapshots:
    """A row says which blob a commit's archive is; `locks` is a directory for the makers' locks."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        mirrors: Mirrors,
        depot: Depot,
        locks: Path,
    ) -> None:
        self._sessions, self._mirrors, self._depot, self._locks = sessions, mirrors, depot, locks
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def ensure(self, repo_id: UUID, commit: str) -> str:
        """The blob of the commit's archive, which is made if there is none.

        Raises RepositoryError for what is no full id of a commit, or a tree that no sandbox can
        have; CommitMissing.
        """
        if not OBJECT_ID.fullmatch(commit):
            raise RepositoryError(f"{commit!r} is not a full commit id; resolve it first")
        if (known := await self._known(repo_id, commit)) is not None:
            return known
        async with file_lock(self._locks / f"{repo_id.hex}-{commit}"):
            if (known := await self._known(repo_id, commit)) is not None:
                return known
            made = await self._made(repo_id, commit)
            return await self._recorded(repo_id, commit, made)

    async def here(self, repo_id: UUID, commit: str) -> None:
        """Have the commit's tree in this home's mirror: where it was not imported, of its archive.

        Raises CommitMissing where there is no archive either.
        """
        with suppress(CommitMissing):
            await self._mirrors.tree_of(repo_id.hex, commit)
            return
        async with file_lock(self._locks / f"{repo_id.hex}-{commit}"):
            with suppress(CommitMissing):
                await self._mirrors.tree_of(repo_id.hex, commit)
                return
            await self._taken(repo_id, commit)

    async def _taken(self, repo_id: UUID, commit: str) -> None:
        known = await self._known(repo_id, commit)
        if known is None:
            raise CommitMissing(
                f"{commit} of repository {repo_id} is neither in this home's mirror nor, as a"
                " snapshot, in the blob store; an operator must import the repository here again,"
                " or mend the blob store"
            )
        with tempfile.TemporaryDirectory(prefix="vsc-snapshot-") as scratch:
            await asyncio.to_thread(self._read_git, known, Path(scratch))
            await self._mirrors.take_snapshot(repo_id.hex, commit, Path(scratch))

    def _read_git(self, blob: str, into: Path) -> None:
        """Blocking."""
        with self._depot.open(blob) as source:
            read_git(source, into, MAX_ARCHIVE_BYTES)

    async def _known(self, repo_id: UUID, commit: str) -> str | None:
        """The blob on record, if it is there.

        Finding the row makes it used in one statement: the collector drops it before, or not.
        """
        ours = (Snapshot.repo_id == repo_id, Snapshot.commit == commit)
        used = update(Snapshot).where(*ours).values(used_at=func.now())
        async with self._sessions.begin() as session:
            known: str | None = await session.scalar(used.returning(Snapshot.archive_sha256))
        if known is None or not await asyncio.to_thread(self._is_there, known):
            return None
        return known

    def _is_there(self, sha256: str) -> bool:
        try:
            self._depot.open(sha256).close()
        except BlobMissing:
            return False
        return True

    async def _made(self, repo_id: UUID, commit: str) -> Artifact:
        with tempfile.TemporaryFile() as file:
            into = cast("IO[bytes]", file)
            await write_snapshot(self._mirrors.git(repo_id.hex), commit, into)
            into.seek(0)
            return await asyncio.to_thread(self._depot.put, file, MAX_ARCHIVE_BYTES)

    async def _recorded(self, repo_id: UUID, commit: str, made: Artifact) -> str:
        row = {
            "repo_id": repo_id,
            "commit": commit,
            "archive_sha256": made.sha256,
            "archive_bytes": made.size_bytes,
        }
        changes = {name: row[name] for name in ("archive_sha256", "archive_bytes")}
        async with self._sessions.begin() as session:
            await session.execute(
                insert(Snapshot)
                .values(row)
                .on_conflict_do_update(index_elements=["repo_id", "commit"], set_=changes)
            )
        return made.sha256

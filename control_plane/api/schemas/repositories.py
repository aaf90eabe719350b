"""Repositories and uploads on the wire."""

from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from control_plane.api.schemas.base import KeyText, LongLine, Sha256, StrictModel, ViewModel
from control_plane.repos import sources


class FromPath(StrictModel):
    """A repository, or a plain directory, on the machine that runs the control plane.

    With `commit`, only the files of that commit are taken, and no history.
    """

    kind: Literal["path"]
    path: LongLine
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None

    def inside(self) -> sources.Source:
        """The same, as the rest of the house knows it."""
        return sources.FromPath(Path(self.path), self.commit)


class FromArchive(StrictModel):
    """An uploaded tar or zip (`POST /v1/blobs`).

    Its files become one commit, on top of `parent` if that is given.
    """

    kind: Literal["archive"]
    sha256: Sha256
    parent: LongLine | None = None

    def inside(self) -> sources.Source:
        """The same, as the rest of the house knows it."""
        return sources.FromArchive(self.sha256, self.parent)


class FromHttps(StrictModel):
    """A repository behind https; `ref` None takes every branch and tag."""

    kind: Literal["https"]
    url: LongLine
    ref: LongLine | None = None

    def inside(self) -> sources.Source:
        """The same, as the rest of the house knows it."""
        return sources.FromHttps(self.url, self.ref)


class NewRepository(StrictModel):
    """A repository to import. A key that is known is imported into again."""

    key: KeyText
    source: Annotated[FromPath | FromArchive | FromHttps, Field(discriminator="kind")]


class RepositoryView(ViewModel):
    """A repository."""

    id: UUID
    key: str
    source: str


class ImportedRepository(RepositoryView):
    """A repository, and the commit that was its HEAD at this import."""

    head: str


class UploadView(ViewModel):
    """Bytes that the platform keeps now."""

    sha256: str
    size_bytes: int

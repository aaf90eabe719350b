"""Repositories and uploads on the wire."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from control_plane.projects.schemas import KeyText, StrictModel, ViewModel

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
LongLine = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class FromPath(StrictModel):
    """A repository, or a plain directory, on the machine that runs the control plane."""

    kind: Literal["path"]
    path: LongLine


class FromArchive(StrictModel):
    """An uploaded tar or zip (`POST /v1/blobs`).

    Its files become one commit, on top of `parent` if that is given.
    """

    kind: Literal["archive"]
    sha256: Sha256
    parent: LongLine | None = None


class FromHttps(StrictModel):
    """A repository behind https; `ref` None takes every branch and tag."""

    kind: Literal["https"]
    url: LongLine
    ref: LongLine | None = None


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

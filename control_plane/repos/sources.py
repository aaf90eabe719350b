"""Where the content of a repository can come from."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FromPath:
    """A repository, or a plain directory, on this machine.

    With `commit`, a full id, only the files of that commit are taken, and no history.
    """

    path: Path
    commit: str | None = None

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class FromArchive:
    """A tar or zip among the blobs; its files become one commit, on top of `parent` if given."""

    sha256: str
    parent: str | None = None

    def __str__(self) -> str:
        return f"archive {self.sha256}"


@dataclass(frozen=True, slots=True)
class FromHttps:
    """A repository behind https; `ref` None takes every branch and tag."""

    url: str
    ref: str | None = None

    def __str__(self) -> str:
        return self.url


Source = FromPath | FromArchive | FromHttps

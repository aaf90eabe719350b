"""Documents that a session submits while it works: which is taken, and which counts. Pure."""

from dataclasses import dataclass, replace

MOST_INVALID = 3
"""COMPANY: after the third invalid try the session has failed."""
MOST_VALID = 20
"""Each is a blob; one that changes its mind more often is refused."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a session's row says of its submits."""

    document_sha256: str | None = None
    """The newest valid one."""
    valid: int = 0
    invalid: int = 0

    @property
    def tries_left(self) -> int:
        """Invalid submits that are still answered with what is wrong."""
        return max(0, MOST_INVALID - self.invalid)


@dataclass(frozen=True, slots=True)
class Counts:
    """The document of a session that has ended; None, and why there is none."""

    sha256: str | None
    checked: bool = False
    """It was found valid when it was submitted."""
    why: str = ""


def refusal(so_far: Submitted, sha256: str) -> str:
    """Why a submit of these bytes is not even looked at; empty: it is."""
    if not so_far.tries_left:
        return f"{MOST_INVALID} invalid documents were submitted; no further one is taken"
    if so_far.valid >= MOST_VALID and sha256 != so_far.document_sha256:
        return f"{MOST_VALID} valid documents were submitted; the last one stands"
    return ""


def accepted(so_far: Submitted, sha256: str) -> Submitted:
    """After a valid one: it replaces the one before. The same one again changes nothing."""
    if sha256 == so_far.document_sha256:
        return so_far
    return replace(so_far, document_sha256=sha256, valid=so_far.valid + 1)


def rejected(so_far: Submitted) -> Submitted:
    """After an invalid one. A valid one from before stands."""
    return replace(so_far, invalid=so_far.invalid + 1)


def what_counts(so_far: Submitted, file_sha256: str | None, no_file: str) -> Counts:
    """The one that was submitted, else the file that was left; no file after three invalid tries.

    `no_file` says why there is no file, where there is none.
    """
    if so_far.document_sha256 is not None:
        return Counts(so_far.document_sha256, checked=True)
    if not so_far.tries_left:
        return Counts(None, why=f"{MOST_INVALID} submitted documents were invalid")
    if file_sha256 is not None:
        return Counts(file_sha256)
    return Counts(None, why=f"none was submitted, and {no_file}")

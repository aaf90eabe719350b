"""Names of blobs, and a stream whose hash is compared when its end is reached."""

import hashlib
import io
import re
from typing import BinaryIO, Protocol

from control_plane.blobs.ports import BlobDamaged
from sandboxes.errors import BlobMissing

BLOCK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Raw(Protocol):
    """What is read: a file, or the body of an answer."""

    def readinto(self, buffer: "memoryview", /) -> int | None:
        """The next bytes into `buffer`; how many. 0: the end."""

    def close(self) -> object:
        """Give it back."""


def is_name(text: str) -> bool:
    """Whether a blob can be called that."""
    return _SHA256.fullmatch(text) is not None


def named(sha256: str) -> str:
    """`sha256`, if it is one. Raises BlobMissing."""
    if not is_name(sha256):
        raise BlobMissing(f"{sha256!r} is not a sha256")
    return sha256


def missing(sha256: str) -> BlobMissing:
    """Nothing is kept under that name."""
    return BlobMissing(f"no blob {sha256} is kept here; upload it first")


def checked(raw: Raw, sha256: str, *, whole: bool) -> BinaryIO:
    """`raw` as a file. Where it is the `whole` blob, reading wrong bytes to the end raises."""
    return io.BufferedReader(_Checked(raw, sha256 if whole else None), BLOCK_BYTES)


class _Checked(io.RawIOBase):
    def __init__(self, raw: Raw, expected: str | None) -> None:
        super().__init__()
        self._raw, self._expected, self._hash = raw, expected, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # typeshed names an unexported type
        count = self._raw.readinto(buffer) or 0
        if self._expected is None:
            return count
        if count:
            self._hash.update(memoryview(buffer)[:count])
        elif self._hash.hexdigest() != self._expected:
            raise BlobDamaged(
                f"blob {self._expected} holds other bytes than its name says; put it there again"
            )
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()

"""Bytes by their sha256, in a private directory: whole or not at all."""

import hashlib
import io
import os
import re
import tempfile
from pathlib import Path
from typing import IO, BinaryIO

from sandboxes.errors import BlobMissing, TooLarge
from sandboxes.spec import Artifact

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


class BlobDamaged(BlobMissing):
    """The bytes under this name are not the ones that were put there.

    Whoever names them must make them again.
    """


class BlobStore:
    """A directory of blobs, `ab/cdef...`. Every method blocks; call it from a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        """Keep the bytes of `source`. Raises TooLarge past `max_bytes`, with nothing kept."""
        with tempfile.NamedTemporaryFile(
            dir=self._root, prefix=".new-", delete=False
        ) as file:  # mode 0600
            partial = Path(file.name)
            try:
                sha256, size_bytes = _copy(source, file, max_bytes)
                os.fsync(file.fileno())
                self._keep(partial, sha256)
            finally:
                partial.unlink(missing_ok=True)
        return Artifact(sha256, size_bytes)

    def put_bytes(self, content: bytes) -> Artifact:
        """Keep `content`."""
        return self.put(io.BytesIO(content), len(content))

    def path(self, sha256: str) -> Path:
        """The file that holds the bytes (its content is not checked). Raises BlobMissing."""
        if not _SHA256.fullmatch(sha256):
            raise BlobMissing(f"{sha256!r} is not a sha256")
        path = self._root / sha256[:2] / sha256[2:]
        if not path.is_file():
            raise BlobMissing(f"no blob {sha256} is kept here; upload it first")
        return path

    def open(self, sha256: str) -> BinaryIO:
        """The bytes, checked while they are read: the read that reaches the end of wrong bytes raises BlobDamaged."""
        return io.BufferedReader(_Checked(self.path(sha256), sha256), _CHUNK_BYTES)

    def read(self, sha256: str, max_bytes: int) -> bytes:
        """All the bytes, checked. Raises BlobMissing, or TooLarge past `max_bytes`."""
        size_bytes = self.path(sha256).stat().st_size
        if size_bytes > max_bytes:
            raise TooLarge(
                f"blob {sha256} has {size_bytes} bytes, more than the {max_bytes} asked for"
            )
        with self.open(sha256) as file:
            return file.read()

    def _keep(self, partial: Path, sha256: str) -> None:
        folder = self._root / sha256[:2]
        folder.mkdir(mode=0o700, exist_ok=True)
        partial.replace(folder / sha256[2:])  # also over an older copy, which heals a damaged one
        _sync_directory(folder)


class _Checked(io.RawIOBase):
    """A file whose hash is compared when its end is reached."""

    def __init__(self, path: Path, sha256: str) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._expected, self._hash = sha256, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # typeshed names an unexported type
        count = self._file.readinto(buffer) or 0
        if count:
            self._hash.update(memoryview(buffer)[:count])
        elif self._hash.hexdigest() != self._expected:
            raise BlobDamaged(
                f"blob {self._expected} holds other bytes than its name says; put it there again"
            )
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _copy(source: BinaryIO, target: IO[bytes], max_bytes: int) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes")
        digest.update(chunk)
        target.write(chunk)
    target.flush()
    return digest.hexdigest(), size_bytes


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

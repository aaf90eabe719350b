"""Blobs as files of a private directory, `ab/cdef...`, on the disk when `put` returns."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO

from filelock import lock_descriptor

from control_plane.blobs.checked import BLOCK_BYTES, checked, is_name, missing, named
from control_plane.blobs.ports import Kept
from sandboxes.errors import DepotUnavailable, TooLarge
from sandboxes.spec import Artifact

_PARTIAL = ".new-"
_POLL_S = 0.002


class DirectoryBlobs:
    """A `BlobStore` that several processes of a machine may share."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        """Keep the bytes, whole or not at all. Raises TooLarge, DepotUnavailable (a full disk)."""
        with self._partial() as file:
            sha256, size_bytes = _copy(source, file, max_bytes)
            with _answering():
                os.fsync(file.fileno())
                self._keep(Path(file.name), sha256)
        return Artifact(sha256, size_bytes)

    def open(self, sha256: str, start: int = 0) -> BinaryIO:
        """The bytes from `start` on. Raises BlobMissing, and BlobDamaged at a wrong end."""
        try:
            file = self.path(sha256).open("rb", buffering=0)
        except (FileNotFoundError, IsADirectoryError):
            raise missing(sha256) from None
        file.seek(start)
        return checked(file, sha256, whole=start == 0)

    def stat(self, sha256: str) -> Kept:
        """Raises BlobMissing."""
        try:
            return _kept(sha256, self.path(sha256))
        except FileNotFoundError:
            raise missing(sha256) from None

    def delete(self, sha256: str, kept_before: datetime | None = None) -> bool:
        """Who puts it meanwhile loses nothing: the folder is locked from look to removal."""
        path = self.path(sha256)
        if not path.exists():
            return True
        with _locked(path.parent), contextlib.suppress(FileNotFoundError):
            if kept_before is not None and _kept(sha256, path).kept_at >= kept_before:
                return False
            path.unlink()
        return True

    def every(self) -> Iterator[Kept]:
        """Every blob, as found; what is deleted meanwhile, or no blob of ours, is left out."""
        for folder in sorted(self._root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                with contextlib.suppress(FileNotFoundError):
                    if is_name(folder.name + path.name) and path.is_file():
                        yield _kept(folder.name + path.name, path)

    def renew(self, sha256: str) -> Kept:
        """Under the lock that `delete` takes. Raises BlobMissing."""
        path = self.path(sha256)
        try:
            with _locked(path.parent):
                os.utime(path)
                return _kept(sha256, path)
        except FileNotFoundError:
            raise missing(sha256) from None

    def check(self) -> str:
        """Whether it can be written. Raises DepotUnavailable."""
        with _answering(), self._partial() as file:
            file.write(b"vsc")
        return f"directory {self._root}"

    def sweep(self) -> int:
        """Remove what dead processes were writing; how many bytes. A living one holds a lock."""
        freed = 0
        for path in self._root.glob(f"{_PARTIAL}*"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                if lock_descriptor(file.fileno(), blocking=False):
                    path.unlink()
                    freed += os.fstat(file.fileno()).st_size
        return freed

    def path(self, sha256: str) -> Path:
        """Where that blob lies, or would. For this adapter and its tests only."""
        name = named(sha256)
        return self._root / name[:2] / name[2:]

    @contextmanager
    def _partial(self) -> Iterator[IO[bytes]]:
        """A new file (mode 0600) under lock, removed unless it has been moved away."""
        while True:
            with _answering():
                file = tempfile.NamedTemporaryFile(dir=self._root, prefix=_PARTIAL, delete=False)  # noqa: SIM115 -- closed below
            with file:
                lock_descriptor(file.fileno(), poll_interval=_POLL_S)
                if os.fstat(file.fileno()).st_nlink == 0:
                    continue  # swept between its making and its lock
                try:
                    yield file
                finally:
                    Path(file.name).unlink(missing_ok=True)
                return

    def _keep(self, partial: Path, sha256: str) -> None:
        path = self.path(sha256)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with _locked(path.parent) as folder:
            os.utime(partial)  # its age counts from now, however long the writing took
            partial.replace(path)  # also over an older copy, which heals a damaged one
            os.fsync(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """One process at a time puts into a folder, or deletes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock_descriptor(descriptor, poll_interval=_POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _answering() -> Iterator[None]:
    """A disk that refuses is a store that does not answer."""
    try:
        yield
    except OSError as error:
        raise DepotUnavailable(f"the blob directory cannot be written: {error}") from error


def _kept(sha256: str, path: Path) -> Kept:
    found = path.stat()
    return Kept(sha256, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _copy(source: BinaryIO, target: IO[bytes], max_bytes: int) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := source.read(BLOCK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes")
        digest.update(chunk)
        try:
            target.write(chunk)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            raise DepotUnavailable(f"the blob directory cannot be written: {error}") from error
    with _answering():
        target.flush()
    return digest.hexdigest(), size_bytes

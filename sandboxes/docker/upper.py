"""Which paths an overlay changed, read from its upper directory: O(what changed).

The upper directory holds what a dead sandbox left, so it is hostile: nothing is followed, every
step is by directory handle, and depth, number and length have caps. Past a cap the answer is an
error, never a shorter list.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAX_DEPTH = 128
MAX_PATH_BYTES = 4096
MAX_ENTRIES = 1_000_000

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class HostileTree(ValueError):
    """A tree deeper, longer or larger than any repository may be."""


def changed_paths(upper: Path, base: Path) -> set[bytes]:
    """Every file or link that can differ from `base`, and every path of `base` that is gone.

    A deleted directory is listed itself, and with all files that the base has below it.

    Raises:
        HostileTree: a cap was passed.
    """
    walk = _Walk(changed=set())
    with _directory(upper) as root, _directory(base) as below:
        walk.upper(root, below, b"", 0)
    return walk.changed


@dataclass(slots=True)
class _Walk:
    changed: set[bytes]
    seen: int = 0

    def upper(self, handle: int, base: int | None, at: bytes, depth: int) -> None:
        """Walk one directory of the upper layer, beside the base's of the same path if any."""
        if base is not None and _is_opaque(handle):
            self.files(base, at, depth)  # all that the base has here is hidden
            base = None
        for name, mode, device in self.entries(handle, at, depth):
            path = _join(at, name)
            with _base_directory(name, base) as below:
                if stat.S_ISDIR(mode):
                    if below is None and _exists(name, base):
                        self.changed.add(
                            path
                        )  # a directory stands where the base has a file or a link
                    with _directory(name, handle) as child:
                        self.upper(child, below, path, depth + 1)
                    continue
                # A whiteout (character device 0/0) and a changed file alike: what the base has
                # there shows no more.
                self.changed.add(path)
                if stat.S_ISCHR(mode) and device:
                    raise HostileTree(f"a device in the workspace: {path!r}")
                if below is not None:
                    self.files(below, path, depth + 1)

    def files(self, handle: int, at: bytes, depth: int) -> None:
        for name, mode, _ in self.entries(handle, at, depth):
            path = _join(at, name)
            if stat.S_ISDIR(mode):
                with _directory(name, handle) as child:
                    self.files(child, path, depth + 1)
            else:
                self.changed.add(path)

    def entries(self, handle: int, at: bytes, depth: int) -> Iterator[tuple[bytes, int, int]]:
        if depth > MAX_DEPTH:
            raise HostileTree(f"more than {MAX_DEPTH} directories deep: {at[:80]!r}...")
        for entry in os.listdir(handle):
            name = os.fsencode(entry)
            self.seen += 1
            if self.seen > MAX_ENTRIES:
                raise HostileTree(f"more than {MAX_ENTRIES} changed paths")
            if len(at) + len(name) + 1 > MAX_PATH_BYTES:
                raise HostileTree(f"a path longer than {MAX_PATH_BYTES} bytes: {at[:80]!r}...")
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            yield name, found.st_mode, found.st_rdev


def _is_opaque(handle: int) -> bool:
    try:
        return os.getxattr(handle, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _join(at: bytes, name: bytes) -> bytes:
    return at + b"/" + name if at else name


def _exists(name: bytes, base: int | None) -> bool:
    if base is None:
        return False
    try:
        os.stat(name, dir_fd=base, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _base_directory(name: bytes, base: int | None) -> Iterator[int | None]:
    """The base's directory `name`, or None: there is nothing, or no directory.

    A link is no directory.
    """
    if base is None:
        yield None
        return
    try:
        handle = os.open(name, _OPEN_DIRECTORY, dir_fd=base)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as link:
        if link.errno != errno.ELOOP:
            raise
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _directory(path: Path | bytes, within: int | None = None) -> Iterator[int]:
    handle = os.open(path, _OPEN_DIRECTORY, dir_fd=within)
    try:
        yield handle
    finally:
        os.close(handle)

"""Reads a tree that an enemy has made: through directory descriptors, not links, up to a limit."""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from runners.tree_rules import PatchLimits

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KIND = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_OF_THE_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})
"""No tree can bring these about, so no author is told of them."""


class TreeLimit(Exception):
    """The tree takes more than the limits allow; the message names the limit."""


class Unreadable(Exception):
    """One entry cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies at a path."""

    mode: int
    size: int

    @property
    def git_mode(self) -> str | None:
        """Git's word for it, or None: git has no word for it."""
        if stat.S_ISREG(self.mode):
            return "100755" if self.mode & stat.S_IXUSR else "100644"
        return "120000" if stat.S_ISLNK(self.mode) else None

    @property
    def is_directory(self) -> bool:
        """Whether it is a real directory, not a link to one."""
        return stat.S_ISDIR(self.mode)

    @property
    def kind(self) -> str:
        """For a message."""
        return _KIND.get(stat.S_IFMT(self.mode), "neither a file nor a link")


class HostileTree:
    """The last directory stays open, as neighbours are asked for one after another."""

    def __init__(self, root: Path, limits: PatchLimits) -> None:
        self._root = os.open(root, _DIRECTORY)
        self._last: tuple[bytes, int] = (b"", os.dup(self._root))
        self._limits = limits
        self._until = time.monotonic() + limits.time_s
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._last[1])
        os.close(self._root)

    def look(self, path: bytes) -> Entry | None:
        """What lies at `path`; None: nothing, or a parent is not a directory."""
        self._count()
        directory, _, name = path.rpartition(b"/")
        try:
            status = os.stat(name or b".", dir_fd=self._open(directory), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable("looked at", error) from error
        return Entry(status.st_mode, status.st_size)

    def names(self, directory: bytes) -> list[bytes]:
        """What a directory holds, sorted. Raises Unreadable."""
        names = []
        try:
            with os.scandir(self._open(directory)) as found:
                for entry in found:
                    self._count()
                    names.append(os.fsencode(entry.name))
        except OSError as error:
            raise _unreadable("listed", error) from error
        return sorted(names)

    def link_target(self, path: bytes) -> bytes:
        """The text of a link. Raises Unreadable."""
        directory, _, name = path.rpartition(b"/")
        try:
            return os.readlink(name, dir_fd=self._open(directory))
        except OSError as error:
            raise _unreadable("read", error) from error

    @contextlib.contextmanager
    def file(self, path: bytes) -> Iterator[int]:
        """The descriptor of a plain file. Raises Unreadable."""
        directory, _, name = path.rpartition(b"/")
        try:
            fd = os.open(name, _FILE, dir_fd=self._open(directory))
        except OSError as error:
            raise _unreadable("read", error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Unreadable("is not a plain file any more")
            yield fd
        finally:
            os.close(fd)

    def _open(self, directory: bytes) -> int:
        if self._last[0] == directory:
            return self._last[1]
        fd = os.dup(self._root)
        for part in directory.split(b"/") if directory else ():
            try:
                below = os.open(part, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        os.close(self._last[1])
        self._last = (directory, fd)
        return fd

    def _count(self, entries: int = 1) -> None:
        self._seen += entries
        if self._seen > self._limits.entries_seen:
            raise TreeLimit(f"more than {self._limits.entries_seen} entries to look at")
        if time.monotonic() > self._until:
            raise TreeLimit(f"looking took longer than {self._limits.time_s:g} s")


def _unreadable(what: str, error: OSError) -> Unreadable:
    """What to raise of an entry; what is the machine's is raised here, as it is."""
    if error.errno in _OF_THE_MACHINE:
        raise error
    return Unreadable(f"cannot be {what}: {error.strerror}")

"""An archive becomes a directory: in one pass, through directory descriptors, never through a link.

Directories stay open while their neighbours come, so that a file costs little more than its own
system calls.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runners.archive import (
    COPY_BYTES,
    DEFAULT_CAPS,
    DIRECTORY,
    EXECUTABLE,
    LINK,
    Caps,
    Member,
    members,
)

FILES_NS = 1_577_836_800 * 10**9
"""The time of everything: fixed, so that two makers give equal trees."""
GIT_NS = FILES_NS + 86_400 * 10**9
"""The time of what lies in `.git`: later, or git would take each entry of its index for racy."""

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 256
_BLOCK_BYTES = 4096


def unpack(archive: BinaryIO, into: Path, owner: int, caps: Caps = DEFAULT_CAPS) -> int:
    """Make the archive's entries in `into`, an empty directory that nobody else sees.

    All of it, `into` too, then belongs to user and group `owner`, with modes 755 and 644. Says
    about how many bytes it takes on disk.

    Raises:
        ValueError: malformed, past a cap, or entries that cannot be one tree (a file below a
            file or a link); `into` is then of no use.
    """
    root = os.open(into, _OPEN_DIRECTORY)
    try:
        tree = _Tree(root, owner)
        for member in members(archive, caps):
            tree.place(member)
        tree.finish()
    finally:
        os.close(root)
    return tree.disk_bytes


class _Tree:
    def __init__(self, root: int, owner: int) -> None:
        self._root, self._owner = root, owner
        self._gives_away = (owner, owner) != (os.geteuid(), os.getegid())
        self._open: list[tuple[bytes, int]] = []
        self._made: set[bytes] = set()
        self.disk_bytes = _BLOCK_BYTES

    def place(self, member: Member) -> None:
        """Make one entry. Raises ValueError."""
        if member.mode is None:
            raise ValueError(f"{member.path!r} is to be deleted; only a delta deletes")
        directory, _, name = member.path.rpartition(b"/")
        try:
            parent = self._directory(directory)
            if member.mode == DIRECTORY:
                self._make_directory(member.path, name, parent)
            elif member.mode == LINK:
                self._link(member, name, parent)
            else:
                self._file(member, name, parent)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(f"{member.path!r}: a file or link is in its way") from error
        self.disk_bytes += -(-member.size // _BLOCK_BYTES) * _BLOCK_BYTES

    def finish(self) -> None:
        """Set the times of directories, which were changed by what came into them."""
        for _, fd in self._open:
            os.close(fd)
        for path in self._made:
            times = (GIT_NS, GIT_NS) if _in_git(path) else (FILES_NS, FILES_NS)
            os.utime(path, ns=times, dir_fd=self._root, follow_symlinks=False)
        os.fchmod(self._root, 0o755)
        if self._gives_away:
            os.fchown(self._root, self._owner, self._owner)
        os.utime(self._root, ns=(FILES_NS, FILES_NS))

    def _directory(self, path: bytes) -> int:
        """The descriptor of a directory of ours, which is made if it is new."""
        while self._open and not (path + b"/").startswith(self._open[-1][0] + b"/"):
            os.close(self._open.pop()[1])
        if self._open and self._open[-1][0] == path:
            return self._open[-1][1]
        for part in _steps(path, self._open[-1][0] if self._open else b""):
            if len(self._open) >= _MAX_DEPTH:
                raise ValueError(f"more than {_MAX_DEPTH} directories deep: {path[:80]!r}...")
            above = self._open[-1][1] if self._open else self._root
            name = part.rpartition(b"/")[2]
            if part not in self._made:
                self._make_directory(part, name, above)
            self._open.append((part, os.open(name, _OPEN_DIRECTORY, dir_fd=above)))
        return self._open[-1][1] if self._open else self._root

    def _make_directory(self, path: bytes, name: bytes, parent: int) -> None:
        os.mkdir(name, 0o755, dir_fd=parent)
        self._made.add(path)
        self.disk_bytes += _BLOCK_BYTES
        fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        try:
            os.fchmod(fd, 0o755)  # whatever our umask is
            if self._gives_away:
                os.fchown(fd, self._owner, self._owner)
        finally:
            os.close(fd)

    def _link(self, member: Member, name: bytes, parent: int) -> None:
        os.symlink(member.read(), name, dir_fd=parent)
        if self._gives_away:
            os.chown(name, self._owner, self._owner, dir_fd=parent, follow_symlinks=False)
        times = _times(member.path)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _file(self, member: Member, name: bytes, parent: int) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            while data := member.read(COPY_BYTES):
                _write(fd, data)
            if self._gives_away:
                os.fchown(fd, self._owner, self._owner)
            os.fchmod(fd, 0o755 if member.mode == EXECUTABLE else 0o644)
            os.utime(fd, ns=_times(member.path))
        finally:
            os.close(fd)


def _write(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def _steps(path: bytes, below: bytes) -> Iterator[bytes]:
    """The directories from just under `below` down to `path`."""
    at = len(below) + 1 if below else 0
    while path:
        slash = path.find(b"/", at)
        if slash < 0:
            yield path
            return
        yield path[:slash]
        at = slash + 1


def _times(path: bytes) -> tuple[int, int]:
    return (GIT_NS, GIT_NS) if _in_git(path) else (FILES_NS, FILES_NS)


def _in_git(path: bytes) -> bool:
    return path == b".git" or path.startswith(b".git/")

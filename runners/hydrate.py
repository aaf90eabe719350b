"""Turns a base tree into the tree wanted: a delta is an archive that may also take paths away."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runners.archive import COPY_BYTES, DIRECTORY, EXECUTABLE, LINK, Entry, members, write_archive
from runners.tree_rules import components

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def write_delta(entries: Iterable[Entry], into: BinaryIO) -> None:
    """Write `entries`, sorted; a mode of None: the path shall not be there.

    Raises ValueError for a path that no repository can hold, a mode that no delta carries, or a
    path given twice.
    """
    entries = list(entries)
    for entry in entries:
        _check(entry.path, entry.mode)
    write_archive(entries, into)


def apply_delta(delta: BinaryIO, tree: Path, owner: int) -> None:
    """Apply `delta` to `tree`; new files belong to user and group `owner`.

    The whole delta is checked before the first change. No link of the tree is ever followed.

    Raises:
        ValueError: the delta is malformed, or does not fit the tree (a file where it needs a
            directory, a path to delete that is not there).
    """
    # A file of our own, so that what was checked is what is applied, whatever `delta` reads from.
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(delta, spool, COPY_BYTES)
        records = list(_read(spool))
        root = os.open(tree, _DIRECTORY)
        try:
            writer = _Writer(root, owner)
            for record in records:
                if record.mode is None:
                    writer.delete(record.path)
            for record in records:
                if record.mode is not None:
                    spool.seek(record.offset)
                    writer.place(record, spool)
        finally:
            os.close(root)


def read_delta(delta: BinaryIO) -> list[Entry]:
    """Every entry of a delta, contents and all. Raises ValueError."""
    found = []
    for member in members(delta):
        _check(member.path, member.mode)
        found.append(Entry(member.path, member.mode, member.read()))
    return found


@dataclass(frozen=True, slots=True)
class _Record:
    path: bytes
    mode: str | None
    offset: int
    length: int


def _read(spool: BinaryIO) -> Iterator[_Record]:
    """Every record, checked. Raises ValueError."""
    spool.seek(0)
    for member in members(spool):
        _check(member.path, member.mode)
        yield _Record(member.path, member.mode, spool.tell(), member.size)


def _check(path: bytes, mode: str | None) -> None:
    components(path)
    if mode == DIRECTORY:
        raise ValueError(f"{path!r}: a delta carries no directories, as git does not")


class _Writer:
    """Changes a tree below `root`, one directory descriptor at a time."""

    def __init__(self, root: int, owner: int) -> None:
        self._root, self._owner = root, owner

    def delete(self, path: bytes) -> None:
        """Remove a file or link, and the directories that it leaves empty.

        Raises ValueError if it is not there.
        """
        parts = components(path)
        while parts:
            try:
                with self._parent(parts, path, make=False) as parent:
                    if len(parts) == path.count(b"/") + 1:
                        os.unlink(parts[-1], dir_fd=parent)
                    else:
                        os.rmdir(parts[-1], dir_fd=parent)
            except FileNotFoundError as error:
                raise ValueError(f"{path!r} is to be deleted and is not there") from error
            except IsADirectoryError as error:
                raise ValueError(
                    f"{path!r} is to be deleted as a file and is a directory"
                ) from error
            except OSError:
                if len(parts) == path.count(b"/") + 1:
                    raise
                return  # the directory still holds something
            parts = parts[:-1]

    def place(self, record: _Record, source: BinaryIO) -> None:
        """Put a file or link at its path, in place of a file or link that is there."""
        parts = components(record.path)
        with self._parent(parts, record.path, make=True) as parent:
            _clear(parent, parts[-1], record.path)
            if record.mode == LINK:
                os.symlink(source.read(record.length), parts[-1], dir_fd=parent)
                os.chown(parts[-1], self._owner, self._owner, dir_fd=parent, follow_symlinks=False)
            else:
                self._write_file(parent, parts[-1], record, source)

    def _write_file(self, parent: int, name: bytes, record: _Record, source: BinaryIO) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        with open(fd, "wb") as file:  # noqa: PTH123 -- a descriptor, not a path
            left = record.length
            while left:
                data = source.read(min(left, COPY_BYTES))
                file.write(data)
                left -= len(data)
            os.fchown(file.fileno(), self._owner, self._owner)
            os.fchmod(file.fileno(), 0o755 if record.mode == EXECUTABLE else 0o644)

    @contextlib.contextmanager
    def _parent(self, parts: tuple[bytes, ...], path: bytes, *, make: bool) -> Iterator[int]:
        """The descriptor of the directory that holds the last of `parts`.

        Raises ValueError if something else is in the way.
        """
        fd = os.dup(self._root)
        try:
            for part in parts[:-1]:
                if make:
                    self._make_directory(fd, part)
                below = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        except NotADirectoryError as error:
            raise ValueError(f"{path!r}: a parent of it is a file or a link") from error
        finally:
            os.close(fd)

    def _make_directory(self, parent: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            return
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            os.fchown(fd, self._owner, self._owner)
            os.fchmod(fd, 0o755)  # whatever our umask is
        finally:
            os.close(fd)


def _clear(parent: int, name: bytes, path: bytes) -> None:
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        os.unlink(name, dir_fd=parent)
        return
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        raise ValueError(
            f"{path!r} is to become a file and is a directory that still holds something"
        ) from error

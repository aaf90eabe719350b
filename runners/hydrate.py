"""Turns a base tree into the tree wanted: the delta's bytes, their writer and their reader.

Layout: the line `vsc-delta 1`, then for each path in ascending order one record: kind (1 byte),
length of the path (4 bytes), length of the contents (8 bytes), path, contents; then `E`, the number
of records (8 bytes) and the sha256 of all before it. Numbers are big-endian. The same entries give
the same bytes.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runners.tree_rules import components

_MAGIC = b"vsc-delta 1\n"
_HEAD = struct.Struct(">cIQ")
_TAIL = struct.Struct(">cQ32s")
_KINDS = {b"D": None, b"F": "100644", b"X": "100755", b"L": "120000"}
_LETTERS = {mode: letter for letter, mode in _KINDS.items()}
_MAX_PATH_BYTES = 4096
_COPY_BYTES = 2**20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class DeltaEntry:
    """One path as it shall be.

    `mode` is git's (`100644`, `100755`, `120000`); None: the path shall not be there.
    """

    path: bytes
    mode: str | None
    contents: bytes = b""


def write_delta(entries: Iterable[DeltaEntry], into: BinaryIO) -> None:
    """Write `entries`, sorted.

    Raises ValueError for a path that no tree can hold, an unknown mode, or a path given twice.
    """
    writer = _Hashing(into)
    writer.write(_MAGIC)
    count, last = 0, b""
    for entry in sorted(entries, key=lambda entry: entry.path):
        _check_path(entry.path, last)
        if entry.mode not in _LETTERS:
            raise ValueError(
                f"{entry.path!r}: mode {entry.mode!r} is none of {', '.join(str(mode) for mode in _LETTERS)}"
            )
        contents = b"" if entry.mode is None else entry.contents
        writer.write(_HEAD.pack(_LETTERS[entry.mode], len(entry.path), len(contents)))
        writer.write(entry.path)
        writer.write(contents)
        count, last = count + 1, entry.path
    into.write(_TAIL.pack(b"E", count, writer.sha256.digest()))


def apply_delta(delta: BinaryIO, tree: Path, owner: int) -> None:
    """Apply `delta` to `tree`; new files belong to user and group `owner`.

    The whole delta is checked before the first change. No link of the tree is ever followed.

    Raises:
        ValueError: the delta is malformed, or does not fit the tree (a file where it needs a
            directory, a path to delete
            that is not there).
    """
    with (
        tempfile.TemporaryFile() as spool
    ):  # so that what was checked is what is applied, whatever `delta` reads from
        shutil.copyfileobj(delta, spool, _COPY_BYTES)
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


@dataclass(frozen=True, slots=True)
class _Record:
    path: bytes
    mode: str | None
    offset: int
    length: int


class _Hashing:
    def __init__(self, into: BinaryIO) -> None:
        self._into, self.sha256 = into, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.sha256.update(data)
        self._into.write(data)


def _read(spool: BinaryIO) -> Iterator[_Record]:
    """Every record, checked. Raises ValueError."""
    size = spool.seek(0, os.SEEK_END)
    if size < len(_MAGIC) + _TAIL.size:
        raise ValueError("the delta is cut short")
    end = size - _TAIL.size
    spool.seek(0)
    if _sha256(spool, end) != spool.read()[-32:]:
        raise ValueError("the delta's bytes are not the ones that were written: its sha256 differs")
    spool.seek(end)
    letter, count, _ = _TAIL.unpack(spool.read())
    spool.seek(0)
    if letter != b"E" or spool.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("not a delta of this version")
    seen, last = 0, b""
    while spool.tell() < end:
        record = _read_record(spool, end)
        _check_path(record.path, last)
        yield record
        spool.seek(record.offset + record.length)
        seen, last = seen + 1, record.path
    if seen != count:
        raise ValueError(f"the delta holds {seen} entries and speaks of {count}")


def _read_record(spool: BinaryIO, end: int) -> _Record:
    head = spool.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise ValueError("the delta is cut short")
    letter, path_length, length = _HEAD.unpack(head)
    if letter not in _KINDS or path_length > _MAX_PATH_BYTES or (letter == b"D" and length):
        raise ValueError(
            f"an entry of the delta makes no sense: {letter!r}, {path_length}, {length}"
        )
    path = spool.read(path_length)
    if spool.tell() + length > end:
        raise ValueError(f"{path!r}: its contents reach past the delta's end")
    return _Record(path, _KINDS[letter], spool.tell(), length)


def _sha256(spool: BinaryIO, length: int) -> bytes:
    digest = hashlib.sha256()
    while length:
        data = spool.read(min(length, _COPY_BYTES))
        digest.update(data)
        length -= len(data)
    return digest.digest()


def _check_path(path: bytes, last: bytes) -> None:
    components(path)
    if path <= last:
        raise ValueError(f"{path!r}: entries are not in ascending order, or one is there twice")


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
            if record.mode == "120000":
                os.symlink(source.read(record.length), parts[-1], dir_fd=parent)
                os.chown(parts[-1], self._owner, self._owner, dir_fd=parent, follow_symlinks=False)
            else:
                self._write_file(parent, parts[-1], record, source)

    def _write_file(self, parent: int, name: bytes, record: _Record, source: BinaryIO) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:  # noqa: PTH123 -- a descriptor, not a path
            left = record.length
            while left:
                data = source.read(min(left, _COPY_BYTES))
                file.write(data)
                left -= len(data)
            os.fchown(file.fileno(), self._owner, self._owner)
            os.fchmod(file.fileno(), 0o755 if record.mode == "100755" else 0o644)

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

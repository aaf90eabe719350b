"""Trees as bytes: the one form in which snapshots, layers and deltas travel.

Layout: the line `vsc-tree 1`, then for each path in ascending order one record: kind (1 byte),
length of the path (4 bytes), length of the contents (8 bytes), path, contents; then `E`, the number
of records (8 bytes) and the sha256 of all before it. Numbers are big-endian. Owners and times are
no part of it, and the same entries give the same bytes.

A directory has a record only where it would be empty; all others follow from what lies in them.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from runners.tree_rules import plain_components

FILE, EXECUTABLE, LINK, DIRECTORY = "100644", "100755", "120000", "040000"
"""Git's modes. A mode of None: the path shall not be there (in a delta)."""
COPY_BYTES = 2**20

_MAGIC = b"vsc-tree 1\n"
_HEAD = struct.Struct(">cIQ")
_TAIL = struct.Struct(">cQ32s")
_KINDS = {b"D": None, b"F": FILE, b"X": EXECUTABLE, b"L": LINK, b"T": DIRECTORY}
_LETTERS = {mode: letter for letter, mode in _KINDS.items()}
_BARE = (None, DIRECTORY)
_MAX_PATH_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One path as it shall be. `contents` of a link are its target."""

    path: bytes
    mode: str | None
    contents: bytes = b""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one archive may hold."""

    entries: int = 1_000_000
    total_bytes: int = 16 * 2**30


DEFAULT_CAPS = Caps()


class Source(Protocol):
    """Where bytes come from: a file, or something that reads like one."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none: the end."""


def write_archive(entries: Iterable[Entry], into: BinaryIO) -> None:
    """Write `entries`, sorted.

    Raises ValueError for a path that no tree can hold, an unknown mode, or a path given twice.
    """
    writer = Writer(into)
    for entry in sorted(entries, key=lambda entry: entry.path):
        writer.add(entry.path, entry.mode, entry.contents)
    writer.close()


class Writer:
    """Writes one archive, entry by entry, in ascending order of their paths."""

    def __init__(self, into: BinaryIO) -> None:
        self._into, self._sha256 = into, hashlib.sha256()
        self._count, self._last = 0, b""
        self._write(_MAGIC)

    def add(self, path: bytes, mode: str | None, contents: bytes = b"") -> None:
        """One entry. Raises ValueError as `write_archive` does."""
        kept = b"" if mode in _BARE else contents
        self._head(path, mode, len(kept))
        self._write(kept)

    def add_from(self, path: bytes, mode: str, size: int, source: Source) -> None:
        """A file of `size` bytes, read from `source`.

        Raises ValueError as `write_archive` does, and for a source that has fewer bytes.
        """
        self._head(path, mode, size)
        left = size
        while left:
            data = source.read(min(left, COPY_BYTES))
            if not data:
                raise ValueError(f"{path!r} has fewer bytes than its {size}: it is being changed")
            self._write(data)
            left -= len(data)

    def close(self) -> None:
        """Write the end; `into` stays open."""
        self._into.write(_TAIL.pack(b"E", self._count, self._sha256.digest()))

    def _head(self, path: bytes, mode: str | None, size: int) -> None:
        _check_path(path, self._last)
        if mode not in _LETTERS:
            raise ValueError(f"{path!r}: mode {mode!r} is none of an archive's")
        _check_size(path, mode, size)
        self._write(_HEAD.pack(_LETTERS[mode], len(path), size) + path)
        self._count, self._last = self._count + 1, path

    def _write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._into.write(data)


class Member:
    """One entry of an archive that is being read. Its contents can be read until the next one."""

    __slots__ = ("_left", "_reader", "mode", "path", "size")

    def __init__(self, path: bytes, mode: str | None, size: int, reader: "_Checking") -> None:
        self.path, self.mode, self.size = path, mode, size
        self._reader, self._left = reader, size

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the contents, at most `size` (negative: all that is left)."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._reader.take(wanted)
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Pass over what has not been read."""
        while self._left:
            self.read(COPY_BYTES)


def members(source: Source, caps: Caps = DEFAULT_CAPS) -> Iterator[Member]:
    """The entries of an archive, one after another, in a single pass.

    An archive is whole and untampered only when the last one has been taken: what is made of it
    counts from then on.

    Raises:
        ValueError: malformed, cut short, past a cap, or with bytes after its end.
    """
    reader = _Checking(source)
    if reader.take_up_to(len(_MAGIC)) != _MAGIC:
        raise ValueError("not an archive of this version")
    count, total, last = 0, 0, b""
    while (head := reader.take_head()) is not None:
        letter, path_length, size = head
        if letter not in _KINDS or path_length > _MAX_PATH_BYTES:
            raise ValueError(f"an entry makes no sense: {letter!r}, {path_length}, {size}")
        path, mode = reader.take(path_length), _KINDS[letter]
        _check_path(path, last)
        count, total, last = count + 1, total + size, path
        if count > caps.entries or total > caps.total_bytes:
            raise ValueError(f"more than {caps.entries} entries or {caps.total_bytes} bytes")
        _check_size(path, mode, size)
        member = Member(path, mode, size, reader)
        yield member
        member.skip()
    reader.finish(count)


class _Checking:
    """The bytes of an archive, hashed while they are taken."""

    def __init__(self, source: Source) -> None:
        self._source, self._sha256, self._end = source, hashlib.sha256(), b""

    def take_up_to(self, size: int) -> bytes:
        data = self._read(size)
        self._sha256.update(data)
        return data

    def take(self, size: int) -> bytes:
        data = self.take_up_to(size)
        if len(data) < size:
            raise ValueError("the archive is cut short")
        return data

    def take_head(self) -> tuple[bytes, int, int] | None:
        """The head of the next record; None: here the end begins, which is not hashed."""
        head = self._read(_HEAD.size)
        if head[:1] == b"E":
            self._end = head
            return None
        if len(head) < _HEAD.size:
            raise ValueError("the archive is cut short")
        self._sha256.update(head)
        letter, path_length, size = _HEAD.unpack(head)
        return letter, path_length, size

    def finish(self, count: int) -> None:
        tail = self._end + self._read(_TAIL.size - len(self._end))
        if len(tail) < _TAIL.size:
            raise ValueError("the archive is cut short")
        _, told, digest = _TAIL.unpack(tail)
        if digest != self._sha256.digest():
            raise ValueError("the archive's bytes are not those that were written: another sha256")
        if told != count:
            raise ValueError(f"the archive holds {count} entries and speaks of {told}")
        if self._source.read(1):
            raise ValueError("there are bytes after the archive's end")

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        return data


def _check_path(path: bytes, last: bytes) -> None:
    plain_components(path)
    if path <= last:
        raise ValueError(f"{path!r}: entries are not in ascending order, or one is there twice")


def _check_size(path: bytes, mode: str | None, size: int) -> None:
    if (size and mode in _BARE) or (mode == LINK and not 0 < size <= _MAX_PATH_BYTES):
        raise ValueError(f"{path!r}: {size} bytes of contents make no sense for its kind")


def directories_above(path: bytes) -> Iterator[bytes]:
    """The directories that hold `path`, the innermost first."""
    while slash := path.rfind(b"/") + 1:
        path = path[: slash - 1]
        yield path

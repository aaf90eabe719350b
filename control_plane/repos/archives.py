"""Source archives (tar, tar.gz, zip) as data: none is extracted or repaired (faults.md G10-G13).

An archive becomes a list of entries; one that is not a plain file, a directory or a link inside the
tree refuses the whole archive, with its name.
"""

import gzip
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from control_plane.repos.git import RepositoryError
from control_plane.repos.names import link_refusal, refusal, shown

_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 20
"""The most that tarfile may ask for at once: long names and PAX headers are far smaller."""


class ArchiveRefused(RepositoryError):
    """The archive holds what a source archive must not; make it without that."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Caps that a bomb meets before it costs anything."""

    archive_bytes: int = 512 * 2**20
    members: int = 200_000
    file_bytes: int = 256 * 2**20
    total_bytes: int = 1 * 2**30


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or link: its path, git's mode, its content (of a link: the target)."""

    path: bytes
    mode: str
    content: bytes


DEFAULT_ARCHIVE_LIMITS = ArchiveLimits()


def read_archive(archive: Path, limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS) -> list[Entry]:
    """The entries of `archive`, checked, without the one top directory of source archives."""
    if archive.stat().st_size > limits.archive_bytes:
        raise ArchiveRefused(f"{archive.name}: larger than {limits.archive_bytes} bytes")
    try:
        with archive.open("rb") as file:
            entries = checked(_entries(file, limits))
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        OSError,
        zlib.error,
        ValueError,
        NotImplementedError,
    ) as error:
        raise ArchiveRefused(f"{archive.name}: damaged, or not an archive: {error}") from error
    return without_top(entries)


def checked(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, if together they can be one tree."""
    taken: dict[bytes, Entry] = {}
    folders: set[bytes] = set()
    for entry in entries:
        reason = refusal(entry.path)
        if reason is None and entry.mode == "120000":
            reason = link_refusal(entry.path, entry.content)
        if reason is None and entry.path in taken:
            reason = "twice in the archive"
        if reason is not None:
            raise ArchiveRefused(f"{shown(entry.path)}: {reason}")
        taken[entry.path] = entry
        parts = entry.path.split(b"/")
        folders.update(b"/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = next(iter(folders & taken.keys()), None)
    if both is not None:
        raise ArchiveRefused(f"{shown(both)}: a file and a directory at once")
    if not taken:
        raise ArchiveRefused("no files in it")
    return sorted(taken.values(), key=lambda entry: entry.path)


def without_top(entries: list[Entry]) -> list[Entry]:
    """Strip the directory that all entries share, if there is one."""
    tops = {entry.path.partition(b"/")[0] for entry in entries}
    if len(tops) != 1 or any(b"/" not in entry.path for entry in entries):
        return entries
    stripped = (
        Entry(entry.path.partition(b"/")[2], entry.mode, entry.content) for entry in entries
    )
    return checked(stripped)  # again: a link that stayed inside with the top may leave without it


def _entries(file: BinaryIO, limits: ArchiveLimits) -> Iterator[Entry]:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(b"PK"):
        yield from _zip_entries(file, limits)
    elif magic.startswith(b"\x1f\x8b"):
        with tempfile.TemporaryFile() as plain, gzip.open(file) as packed:
            _spool(packed, plain, limits)
            yield from _tar_entries(plain, limits)
    else:
        yield from _tar_entries(file, limits)


def _spool(packed: IO[bytes] | gzip.GzipFile, plain: IO[bytes], limits: ArchiveLimits) -> None:
    """Unpack to disk, so that tarfile can seek cheaply.

    Memory stays flat and the total is known.
    """
    total = 0
    while chunk := packed.read(_CHUNK_BYTES):
        total += len(chunk)
        if total > limits.total_bytes:
            raise ArchiveRefused(f"unpacks to more than {limits.total_bytes} bytes")
        plain.write(chunk)
    plain.seek(0)


class HeaderReads:
    """The file as tarfile sees it: no read beyond a header, so a giant PAX header costs nothing."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """At most a header's worth. Raises ArchiveRefused."""
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise ArchiveRefused(f"a member header of {size} bytes")
        return self._file.read(size)


def _tar_entries(file: IO[bytes], limits: ArchiveLimits) -> Iterator[Entry]:
    total, count = 0, 0
    with tarfile.open(fileobj=HeaderReads(file), mode="r:", errors="surrogateescape") as tar:  # type: ignore[call-overload]  # read, seek and tell are all that it uses
        while (member := tar.next()) is not None:
            tar.members.clear()  # tarfile keeps every member; a million of them would be memory
            count, total = count + 1, total + member.size
            name = member.name.encode(errors="surrogateescape").removeprefix(b"./")
            _cap(name, count, member.size, total, limits)
            if member.isdir():
                continue
            if member.issym():
                yield Entry(name, "120000", member.linkname.encode(errors="surrogateescape"))
                continue
            if not member.isreg() or member.sparse is not None:
                raise ArchiveRefused(f"{shown(name)}: {_kind(member)}, not a plain file")
            after = file.tell()
            file.seek(member.offset_data)
            content = file.read(member.size)
            file.seek(after)
            if len(content) != member.size:
                raise ArchiveRefused(f"{shown(name)}: cut off")
            yield Entry(name, "100755" if member.mode & 0o100 else "100644", content)


def _kind(member: tarfile.TarInfo) -> str:
    kinds = {
        tarfile.LNKTYPE: "a hard link",
        tarfile.CHRTYPE: "a character device",
        tarfile.BLKTYPE: "a block device",
        tarfile.FIFOTYPE: "a fifo",
    }
    return kinds.get(member.type, f"a member of type {member.type!r}")


def _cap(name: bytes, count: int, size: int, total: int, limits: ArchiveLimits) -> None:
    if count > limits.members:
        raise ArchiveRefused(f"more than {limits.members} members")
    if size > limits.file_bytes:
        raise ArchiveRefused(f"{shown(name)}: more than {limits.file_bytes} bytes")
    if total > limits.total_bytes:
        raise ArchiveRefused(f"unpacks to more than {limits.total_bytes} bytes")


def _zip_entries(file: BinaryIO, limits: ArchiveLimits) -> Iterator[Entry]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > limits.members:
            raise ArchiveRefused(f"more than {limits.members} members")
        _refuse_overlap(members)
        total = 0
        for count, member in enumerate(members, 1):
            name = member.orig_filename.encode(errors="surrogateescape")
            total += member.file_size
            _cap(name, count, member.file_size, total, limits)
            mode = member.external_attr >> 16 if member.create_system == 3 else 0  # 3: made on Unix
            if name.endswith(b"/"):
                continue
            yield Entry(name, _zip_mode(name, member, mode), archive.read(member))


def _zip_mode(name: bytes, member: zipfile.ZipInfo, mode: int) -> str:
    if member.flag_bits & 1:
        raise ArchiveRefused(f"{shown(name)}: encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveRefused(f"{shown(name)}: compressed by a method that is not deflate")
    if stat.S_IFMT(mode) == stat.S_IFLNK:
        return "120000"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ArchiveRefused(f"{shown(name)}: a special file, not a plain one")
    return "100755" if mode & 0o100 else "100644"


def _refuse_overlap(members: list[zipfile.ZipInfo]) -> None:
    """Two members that share bytes unpack to more than any ratio can tell."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise ArchiveRefused(f"{member.filename!r}: overlaps another member")
        end = member.header_offset + 30 + len(member.orig_filename) + member.compress_size

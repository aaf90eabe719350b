"""A plain directory, read as the entries of one commit.

Links are text, and nothing special is opened.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from control_plane.repos.archives import ArchiveLimits, ArchiveRefused, Entry
from control_plane.repos.names import shown


def read_directory(root: Path, limits: ArchiveLimits) -> list[Entry]:
    """Every file and link under `root`.

    Raises ArchiveRefused for devices, fifos, sockets, and past the limits, which are met before
    anything is read that lies beyond them.
    """
    top = os.fsencode(root)
    entries: list[Entry] = []
    left = limits.total_bytes
    for path in sorted(_walk(top, limits)):
        entry = _entry(path, os.path.relpath(path, top), left)
        if entry is None:
            raise _too_much(limits)
        left -= len(entry.content)
        entries.append(entry)
    return entries


def _walk(top: bytes, limits: ArchiveLimits) -> Iterator[bytes]:
    """All but directories, in any order. Without a recursion, so that no depth ends it."""
    folders, count = [top], 0
    while folders:
        with os.scandir(folders.pop()) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.path)
                    continue
                count += 1
                if count > limits.members:
                    raise _too_much(limits)
                yield item.path


def _entry(path: bytes, name: bytes, max_bytes: int) -> Entry | None:
    """One file or link; None: it holds more than that."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(path)  # noqa: PTH115 -- names are bytes here, a Path has text
        return Entry(name, "120000", target) if len(target) <= max_bytes else None
    if not stat.S_ISREG(status.st_mode):
        raise ArchiveRefused(f"{shown(name)}: a special file, not a plain one")
    if status.st_size > max_bytes:
        return None
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 -- a Path cannot hold a descriptor
        content = file.read(max_bytes + 1)  # it may have grown
    mode = "100755" if status.st_mode & 0o100 else "100644"
    return Entry(name, mode, content) if len(content) <= max_bytes else None


def _too_much(limits: ArchiveLimits) -> ArchiveRefused:
    return ArchiveRefused(f"more than {limits.members} files or {limits.total_bytes} bytes")

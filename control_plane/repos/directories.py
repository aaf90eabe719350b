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

    Raises ArchiveRefused for devices, fifos, sockets, and past the limits.
    """
    entries: list[Entry] = []
    total = 0
    for path in _walk(os.fsencode(root)):
        entry = _entry(path, os.path.relpath(path, os.fsencode(root)))
        total += len(entry.content)
        if total > limits.total_bytes or len(entries) >= limits.members:
            raise ArchiveRefused(f"more than {limits.members} files or {limits.total_bytes} bytes")
        entries.append(entry)
    return entries


def _walk(folder: bytes) -> Iterator[bytes]:
    with os.scandir(folder) as found:
        for item in sorted(found, key=lambda item: item.name):
            if item.is_dir(follow_symlinks=False):
                yield from _walk(item.path)
            else:
                yield item.path


def _entry(path: bytes, name: bytes) -> Entry:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, "120000", os.readlink(path))  # noqa: PTH115 -- names are bytes here, a Path has text
    if not stat.S_ISREG(status.st_mode):
        raise ArchiveRefused(f"{shown(name)}: a special file, not a plain one")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 -- a Path cannot hold a descriptor
        return Entry(name, "100755" if status.st_mode & 0o100 else "100644", file.read())

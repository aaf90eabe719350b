"""An environment as layers: one archive for each installed distribution, one for all the rest.

They lie side by side as the files of an outer archive: `dist/<name>-<version>`, and `rest`. What a
distribution's RECORD lists is its own, with its metadata and the bytecode of its modules. What the
sandbox says here divides bytes and decides nothing.
"""

import csv
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runners.archive import DIRECTORY, EXECUTABLE, FILE, LINK, Writer

REST = b"rest"
DISTRIBUTION = b"dist/"


class CannotPack(Exception):
    """The environment holds something that an archive of ours does not carry.

    The set-up commands must not make it.
    """


@dataclass(frozen=True, slots=True)
class _Found:
    path: bytes
    mode: str
    size: int


def write_layers(directory: Path, into: BinaryIO, scratch: Path) -> None:
    """Write the layers of everything below `directory`; the same tree gives the same bytes.

    A hard link is packed as a file of its own. Raises CannotPack for a device, fifo, socket or
    set-id file: nothing is left out silently.
    """
    root = os.fsencode(directory)
    owners = _owners(directory)
    layers: dict[bytes, list[_Found]] = {}
    for found in _below(root, b""):
        layers.setdefault(owners.get(_source(found.path), REST), []).append(found)
    outer = Writer(into)
    for name, files in sorted(layers.items()):
        with tempfile.TemporaryFile(dir=scratch) as layer:
            _write_layer(root, sorted(files, key=lambda file: file.path), layer)
            size = layer.tell()
            layer.seek(0)
            outer.add_from(name, FILE, size, layer)
    outer.close()


def _write_layer(root: bytes, files: Iterable[_Found], into: BinaryIO) -> None:
    writer = Writer(into)
    for file in files:
        path = root + b"/" + file.path
        if file.mode == LINK:
            writer.add(file.path, LINK, os.readlink(path))  # noqa: PTH115 -- names are bytes here
        elif file.mode == DIRECTORY:
            writer.add(file.path, DIRECTORY)
        else:
            with open(path, "rb") as source:  # noqa: PTH123 -- as above
                writer.add_from(file.path, file.mode, file.size, source)
    writer.close()


def _below(root: bytes, directory: bytes) -> Iterator[_Found]:
    with os.scandir(root + b"/" + directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    if directory and not entries:
        yield _Found(directory, DIRECTORY, 0)
    for entry in entries:
        path = directory + b"/" + entry.name if directory else entry.name
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield from _below(root, path)
        else:
            yield _Found(path, _mode(path, status.st_mode), status.st_size)


def _mode(path: bytes, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return LINK
    if not stat.S_ISREG(mode):
        raise CannotPack(f"{path!r} is neither a file, a directory nor a link")
    if mode & 0o6000:
        raise CannotPack(f"{path!r} is a set-id file")
    return EXECUTABLE if mode & 0o111 else FILE


def _owners(directory: Path) -> dict[bytes, bytes]:
    """Path -> the layer of the distribution that has it. The first one has it."""
    owners: dict[bytes, bytes] = {}
    for folder in sorted(directory.glob("lib/python3*/site-packages/*.dist-info")):
        layer = DISTRIBUTION + os.fsencode(folder.name.removesuffix(".dist-info"))
        site = folder.parent.relative_to(directory).as_posix()
        listed = [posixpath.normpath(f"{site}/{path}") for path in _record(folder / "RECORD")]
        own = [path.relative_to(directory).as_posix() for path in folder.rglob("*")]
        for path in (*own, *listed):
            owners.setdefault(os.fsencode(path), layer)
    return owners


def _record(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [row[0] for row in csv.reader(file) if row]
    except (OSError, csv.Error):
        return []


def _source(path: bytes) -> bytes:
    """The module whose bytecode this is; any other path is its own."""
    directory, _, name = path.rpartition(b"/")
    if not name.endswith(b".pyc") or directory.rpartition(b"/")[2] != b"__pycache__":
        return path
    module = name.rsplit(b".", 2)[0]
    return directory.removesuffix(b"__pycache__") + module + b".py"

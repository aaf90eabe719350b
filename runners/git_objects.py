"""Git's blobs: their ids, and loose objects written without git ever seeing the file."""

import hashlib
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 2**20


class Shrunk(Exception):
    """A file gave fewer bytes than it has: it is being changed, so the tree is not dead."""


def blob_id(fd: int, size: int) -> str:
    """The id of a file's bytes, read from its start."""
    digest = hashlib.sha1(
        b"blob %d\0" % size, usedforsecurity=False
    )  # git's name for it, not a proof of anything
    for data in _read(fd, size):
        digest.update(data)
    return digest.hexdigest()


def blob_id_of(data: bytes) -> str:
    """The id of bytes."""
    return hashlib.sha1(
        b"blob %d\0" % len(data) + data, usedforsecurity=False
    ).hexdigest()  # as above


class LooseObjects:
    """A git directory's `objects`, as a place to put blobs."""

    def __init__(self, objects: Path) -> None:
        self._objects = objects

    def store(self, fd: int, size: int) -> str:
        """Write a file's bytes as a blob; its id. Memory stays flat."""
        return self._store("blob", _read(fd, size), size)

    def store_bytes(self, data: bytes) -> str:
        """Write bytes as a blob; its id."""
        return self._store("blob", iter((data,)), len(data))

    def store_tree(self, data: bytes) -> str:
        """Write a tree object; its id."""
        return self._store("tree", iter((data,)), len(data))

    def _store(self, kind: str, pieces: Iterator[bytes], size: int) -> str:
        head = f"{kind} {size}\0".encode()
        digest = hashlib.sha1(head, usedforsecurity=False)  # as above
        packer = zlib.compressobj(1)
        temporary = self._objects / f"tmp-{secrets.token_hex(8)}"
        with temporary.open("xb") as file:
            file.write(packer.compress(head))
            for data in pieces:
                digest.update(data)
                file.write(packer.compress(data))
            file.write(packer.flush())
        name = digest.hexdigest()
        (self._objects / name[:2]).mkdir(exist_ok=True)
        temporary.replace(self._objects / name[:2] / name[2:])
        return name


def _read(fd: int, size: int) -> Iterator[bytes]:
    offset = 0
    while offset < size:
        data = os.pread(fd, min(_READ_BYTES, size - offset), offset)
        if not data:
            raise Shrunk
        offset += len(data)
        yield data

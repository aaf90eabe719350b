"""The depot of one machine: blobs from the store, shared trees from directories beside it (`sandboxes.ports.Depot`)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from control_plane.blobs.ports import BlobStore
from sandboxes.errors import BlobMissing
from sandboxes.spec import Artifact

_KEY = re.compile(r"([a-z]+)((?:/[A-Za-z0-9][A-Za-z0-9._-]*)+)")


class LocalDepot:
    """`trees` maps the first word of a tree's key (`snapshots`, `environments`) to the directory that holds such trees."""

    def __init__(self, blobs: BlobStore, trees: Mapping[str, Path]) -> None:
        self._blobs, self._trees = blobs, dict(trees)

    def open(self, sha256: str) -> BinaryIO:
        """The bytes of a blob, checked while they are read. Raises BlobMissing."""
        return self._blobs.open(sha256)

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        """Keep the bytes, whole or not at all. Raises TooLarge past `max_bytes`."""
        return self._blobs.put(source, max_bytes)

    def tree(self, key: str) -> Path:
        """The read-only directory of a shared tree. Raises BlobMissing."""
        found = _KEY.fullmatch(key)
        root = self._trees.get(found[1]) if found else None
        if found is None or root is None:
            raise BlobMissing(
                f"{key!r} is not the key of a tree; known kinds: {', '.join(sorted(self._trees))}"
            )
        path = root / found[2][1:]
        if not path.is_dir():
            raise BlobMissing(f"no tree {key}")
        return path

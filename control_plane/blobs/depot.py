"""The depot of one machine: blobs from the store (`sandboxes.ports.Depot`)."""

from typing import BinaryIO

from control_plane.blobs.ports import BlobStore
from sandboxes.spec import Artifact


class LocalDepot:
    """The blob store, as sandboxes' providers see it."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def open(self, sha256: str) -> BinaryIO:
        """The bytes of a blob, checked while they are read. Raises BlobMissing."""
        return self._blobs.open(sha256)

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        """Keep the bytes, whole or not at all. Raises TooLarge past `max_bytes`."""
        return self._blobs.put(source, max_bytes)

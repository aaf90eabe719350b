"""The blob store that the settings name, opened."""

from pathlib import Path

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.ports import BlobStore


def open_store(home: Path) -> BlobStore:
    """The store of the installation under `home`. Blocking: what dead writers left is swept."""
    store = DirectoryBlobs(home / "blobs")
    store.sweep()
    return store

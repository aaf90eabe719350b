"""The blob store that the settings name, opened."""

from pathlib import Path

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.ports import BlobStore
from control_plane.blobs.s3 import Bucket, S3Blobs
from control_plane.settings import GroundSettings


def open_store(settings: GroundSettings) -> BlobStore:
    """Nothing is asked of it yet. Blocking: what dead writers left in a directory is swept."""
    if settings.blobs is not None and settings.blobs.startswith("s3://"):
        return S3Blobs(bucket_of(settings, settings.blobs))
    store = DirectoryBlobs(Path(settings.blobs or settings.home.absolute() / "blobs"))
    store.sweep()
    return store


def bucket_of(settings: GroundSettings, address: str) -> Bucket:
    """`s3://bucket/prefix` and what belongs to it."""
    name, _, prefix = address.removeprefix("s3://").partition("/")
    return Bucket(
        name=name,
        prefix=prefix.strip("/"),
        endpoint=settings.blobs_endpoint,
        region=settings.blobs_region,
        access_key_id=settings.blobs_access_key_id,
        secret_access_key=settings.blobs_secret_access_key,
        silence_s=settings.blobs_silence_s,
    )

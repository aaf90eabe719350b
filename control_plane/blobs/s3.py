"""Blobs as objects of an S3 bucket, `prefix/ab/cdef...`.

An object appears whole or not at all, and is durable when `put` returns: that is S3's word. Ours is
the hash, which is compared whenever a blob is read from its start.
"""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Any, BinaryIO, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store
from pydantic import SecretStr

from control_plane.blobs.checked import BLOCK_BYTES, checked, is_name, missing, named
from control_plane.blobs.ports import Kept
from sandboxes.errors import DepotUnavailable, TooLarge
from sandboxes.spec import Artifact

_IN_MEMORY_BYTES = 8 * 2**20
_LONGEST = timedelta(hours=1)
_RETRIES = 3
_PROBE = "vsc-can-write"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the objects lie, and how to get there.

    Without credentials they are what the machine has: AWS variables, a role.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    silence_s: float = 30.0
    """A server that says nothing for so long does not answer."""

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}" + (f" at {self.endpoint}" if self.endpoint else "")


class S3Blobs:
    """A `BlobStore` that any number of machines may share."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self._store = bucket, _store(bucket)

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        """The name is the hash, so the bytes are read once before any is sent. Raises TooLarge."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
            sha256, size_bytes = _spooled(source, cast("IO[bytes]", spool), max_bytes)
            with self._answering():
                obstore.put(self._store, _key(sha256), cast("IO[bytes]", spool))
        return Artifact(sha256, size_bytes)

    def open(self, sha256: str, start: int = 0) -> BinaryIO:
        """The bytes from `start` on. Raises BlobMissing, and BlobDamaged at a wrong end."""
        size_bytes = self.stat(sha256).size_bytes if start else None
        if size_bytes is not None and start >= size_bytes:
            return checked(_Nothing(), sha256, whole=False)
        with self._answering(sha256):
            options: Any = {"range": {"offset": start}} if start else None
            found = obstore.get(self._store, _key(sha256), options=options)
            body = _Body(self, iter(found.stream(BLOCK_BYTES)), found.meta["size"] - start)
        return checked(body, sha256, whole=start == 0)

    def stat(self, sha256: str) -> Kept:
        """Raises BlobMissing."""
        with self._answering(sha256):
            found = self._head(sha256)
        return Kept(sha256, found["size"], found["last_modified"])

    def delete(self, sha256: str, kept_before: datetime | None = None) -> bool:
        """S3 deletes under no condition on age: a put between our look and our removal is lost.

        That is the time of one request; `docs/blobs.md` says what follows.
        """
        with self._answering():
            try:
                found = self._head(sha256)
            except FileNotFoundError as error:
                if not _is_missing(error):
                    raise
                return True
            if kept_before is not None and found["last_modified"] >= kept_before:
                return False
            obstore.delete(self._store, _key(sha256))
        return True

    def every(self) -> Iterator[Kept]:
        """Every blob; other objects under the prefix are nobody of ours."""
        with self._answering():
            for some in obstore.list(self._store, chunk_size=1000):
                for found in some:
                    sha256 = found["path"].replace("/", "")
                    if found["path"] == _key_or_nothing(sha256):
                        yield Kept(sha256, found["size"], found["last_modified"])

    def renew(self, sha256: str) -> Kept:
        """S3 makes an object new only by writing it; what is damaged is found on the way."""
        with self.open(sha256) as body:
            self.put(body, sys.maxsize)
        return self.stat(sha256)

    def check(self) -> str:
        """Whether it can be written. Raises DepotUnavailable."""
        with self._answering():
            obstore.put(self._store, _PROBE, b"vsc")
            obstore.delete(self._store, _PROBE)
        return str(self._bucket)

    def sweep(self) -> int:
        """Nothing partial can be seen; the bucket's lifecycle rule ends unfinished uploads."""
        return 0

    def _head(self, sha256: str) -> Any:  # noqa: ANN401 -- the SDK's dictionary
        try:
            return obstore.head(self._store, _key(sha256))
        except FileNotFoundError:  # says nothing more, as the answer to HEAD has no body
            return obstore.get(self._store, _key(sha256)).meta

    @contextmanager
    def _answering(self, sha256: str | None = None) -> Iterator[None]:
        """The SDK's errors become ours; no credential is in their words."""
        try:
            yield
        except FileNotFoundError as error:
            if sha256 is not None and _is_missing(error):
                raise missing(sha256) from None
            raise self._silent(error) from None
        except (BaseError, OSError, ValueError) as error:
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> DepotUnavailable:
        # The SDK's text holds the answer's body and, below "Debug source", its own insides.
        said = " ".join(str(error).partition("Debug source")[0].split())[:500]
        for secret in (self._bucket.access_key_id, self._bucket.secret_access_key):
            if secret is not None and secret.get_secret_value():
                said = said.replace(secret.get_secret_value(), "***")
        return DepotUnavailable(
            f"the blob store {self._bucket} does not answer as it should: {said}; "
            "see that it runs, and VSC_BLOBS and the settings that begin with VSC_BLOBS_"
        )


@dataclass(slots=True)
class _Body:
    """The body of an answer as something to read from."""

    owner: S3Blobs
    blocks: Iterator[Any]
    left: int
    """Bytes that have been promised and have not come."""
    block: memoryview = field(default_factory=lambda: memoryview(b""))

    def readinto(self, buffer: memoryview, /) -> int:
        """Raises DepotUnavailable where the server breaks off."""
        if not self.block:
            with self.owner._answering():
                self.block = memoryview(next(self.blocks, b""))
            self.left -= len(self.block)
            if not self.block and self.left:
                raise DepotUnavailable(f"the blob store broke off {self.left} bytes before the end")
        count = min(len(buffer), len(self.block))
        buffer[:count] = self.block[:count]
        self.block = self.block[count:]
        return count

    def close(self) -> None:
        """What has not come is not wanted."""
        self.blocks, self.block = iter(()), memoryview(b"")


class _Nothing:
    """Past the end there is nothing, and S3 would call asking for it an error."""

    def readinto(self, _: memoryview, /) -> int:
        return 0

    def close(self) -> None:
        pass


def _store(bucket: Bucket) -> S3Store:
    config: Any = {"region": bucket.region}
    if bucket.endpoint is not None:
        config["endpoint"] = bucket.endpoint
    if bucket.access_key_id is not None and bucket.secret_access_key is not None:
        config["access_key_id"] = bucket.access_key_id.get_secret_value()
        config["secret_access_key"] = bucket.secret_access_key.get_secret_value()
    silence = timedelta(seconds=bucket.silence_s)
    client: Any = {
        "allow_http": (bucket.endpoint or "").startswith("http://"),
        "connect_timeout": silence,
        "read_timeout": silence,
        "timeout": _LONGEST,
    }
    retry: Any = {"max_retries": _RETRIES, "retry_timeout": silence}
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=config,
        client_options=client,
        retry_config=retry,
    )


def _is_missing(error: FileNotFoundError) -> bool:
    """A 404 may also mean that there is no such bucket, or no such user."""
    return "NoSuchKey" in str(error)


def _key(sha256: str) -> str:
    name = named(sha256)
    return f"{name[:2]}/{name[2:]}"


def _key_or_nothing(sha256: str) -> str | None:
    return _key(sha256) if is_name(sha256) else None


def _spooled(source: BinaryIO, spool: IO[bytes], max_bytes: int) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := source.read(BLOCK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes")
        digest.update(chunk)
        spool.write(chunk)
    spool.seek(0)
    return digest.hexdigest(), size_bytes

"""Bytes by their sha256: the async port for callers, and the blocking one for adapters."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from sandboxes.errors import BlobMissing
from sandboxes.spec import Artifact


class BlobDamaged(BlobMissing):
    """The bytes under this name are not the ones that were put there.

    Whoever names them must make them again; putting the right ones heals it.
    """


@dataclass(frozen=True, slots=True)
class Kept:
    """A blob that is there. `kept_at` is when it was put last."""

    sha256: str
    size_bytes: int
    kept_at: datetime


class Blobs(Protocol):
    """What the control plane asks of a blob store.

    Every method raises DepotUnavailable when the store does not answer: retry later.
    """

    async def put(
        self, source: bytes | BinaryIO | AsyncIterator[bytes], max_bytes: int | None = None
    ) -> Artifact:
        """Keep the bytes, whole or not at all. Putting again heals a damaged blob and makes it new.

        Raises TooLarge past `max_bytes` (None: what is in hand is kept, however much it is).
        """

    async def read(self, sha256: str, max_bytes: int) -> bytes:
        """All the bytes, checked. Raises BlobMissing, BlobDamaged, or TooLarge past `max_bytes`."""

    def stream(self, sha256: str, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes from `start` on, in blocks.

        From the first byte on they are checked: at the end of wrong ones it raises BlobDamaged.
        From the middle nobody can tell. Raises BlobMissing.
        """

    async def stat(self, sha256: str) -> Kept:
        """What is known without reading it. Raises BlobMissing."""

    async def delete(self, sha256: str, kept_before: datetime | None = None) -> bool:
        """Remove the blob, unless it was put again at `kept_before` or later.

        Whether it is gone; one that is not there is.
        """

    def every(self) -> AsyncIterator[Kept]:
        """Every blob that is there, in no order."""

    async def renew(self, sha256: str) -> Kept:
        """As if it had been put again now: it is safe from the collector until a row names it.

        Raises BlobMissing.
        """

    async def sweep(self) -> int:
        """Remove what dead processes were writing; how many bytes."""


class BlobStore(Protocol):
    """What an adapter does, blocking: `Blobs` in a thread, and the depot of provider threads.

    It raises what `Blobs` raises.
    """

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        """Keep the bytes, whole or not at all."""

    def open(self, sha256: str, start: int = 0) -> BinaryIO:
        """The bytes from `start` on; checked while they are read, if from the first one on."""

    def stat(self, sha256: str) -> Kept:
        """What is known without reading it."""

    def delete(self, sha256: str, kept_before: datetime | None = None) -> bool:
        """Remove the blob, unless it was put again at `kept_before` or later."""

    def every(self) -> Iterator[Kept]:
        """Every blob that is there, in no order."""

    def renew(self, sha256: str) -> Kept:
        """As if it had been put again now."""

    def sweep(self) -> int:
        """Remove what dead processes were writing; how many bytes."""

    def check(self) -> str:
        """Write and delete something; where the blobs lie. Raises DepotUnavailable."""

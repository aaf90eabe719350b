"""A blocking blob store as the async port, on its own threads: a slow one holds up nobody else."""

import asyncio
import contextlib
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, BinaryIO, TypeVar, cast

from control_plane.blobs.checked import BLOCK_BYTES
from control_plane.blobs.ports import BlobStore, Kept
from sandboxes.errors import TooLarge
from sandboxes.spec import Artifact

T = TypeVar("T")

_THREADS = 16
_IN_MEMORY_BYTES = 2**20
_LISTED_AT_ONCE = 1000


class ThreadedBlobs:
    """`control_plane.blobs.ports.Blobs` over any `BlobStore`."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")

    async def put(
        self, source: bytes | BinaryIO | AsyncIterator[bytes], max_bytes: int | None = None
    ) -> Artifact:
        """Bytes that arrive bit by bit are counted and spooled, and put when all are there."""
        most = sys.maxsize if max_bytes is None else max_bytes
        if isinstance(source, bytes):
            return await self._in_thread(self._store.put, io.BytesIO(source), most)
        if not isinstance(source, AsyncIterator):
            return await self._in_thread(self._store.put, source, most)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
            size_bytes = 0
            async for block in source:
                size_bytes += len(block)
                if size_bytes > most:
                    raise TooLarge(f"more than {most} bytes")
                await self._in_thread(spool.write, block)
            spool.seek(0)
            return await self._in_thread(self._store.put, cast("BinaryIO", spool), most)

    async def read(self, sha256: str, max_bytes: int) -> bytes:
        """In one request."""
        return await self._in_thread(self._read, sha256, max_bytes)

    async def stream(self, sha256: str, start: int = 0) -> AsyncIterator[bytes]:
        """One block is in memory at a time."""
        file = await self._in_thread(self._store.open, sha256, start)
        with contextlib.closing(file):
            while block := await self._in_thread(file.read, BLOCK_BYTES):
                yield block

    async def stat(self, sha256: str) -> Kept:
        """Raises BlobMissing."""
        return await self._in_thread(self._store.stat, sha256)

    async def delete(self, sha256: str, kept_before: datetime | None = None) -> bool:
        """Whether it is gone."""
        return await self._in_thread(self._store.delete, sha256, kept_before)

    async def every(self) -> AsyncIterator[Kept]:
        """A thousand at a time."""
        found = iter(self._store.every())
        while some := await self._in_thread(_next_of, found):
            for kept in some:
                yield kept

    async def renew(self, sha256: str) -> Kept:
        """Raises BlobMissing."""
        return await self._in_thread(self._store.renew, sha256)

    async def sweep(self) -> int:
        """How many bytes."""
        return await self._in_thread(self._store.sweep)

    def close(self) -> None:
        """Let go of the threads; none may be waited for."""
        self._pool.shutdown(wait=False)

    def _read(self, sha256: str, max_bytes: int) -> bytes:
        with contextlib.closing(self._store.open(sha256)) as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise TooLarge(f"blob {sha256} has more than the {max_bytes} bytes asked for")
        return content

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401 -- passed on
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)


def _next_of(found: Any) -> list[Kept]:  # noqa: ANN401 -- an iterator of Kept, in a thread
    return [kept for _, kept in zip(range(_LISTED_AT_ONCE), found, strict=False)]

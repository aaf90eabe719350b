"""A blob as a file for as long as somebody needs one: git, archives and the judge read files."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from control_plane.blobs.ports import Blobs


async def write_file(blobs: Blobs, sha256: str, path: Path) -> None:
    """The blob's bytes, checked, as the new file `path`. Raises BlobMissing."""
    file = await asyncio.to_thread(path.open, "xb")
    try:
        async for block in blobs.stream(sha256):
            await asyncio.to_thread(file.write, block)
    finally:
        await asyncio.to_thread(file.close)


@asynccontextmanager
async def temporary_file(blobs: Blobs, sha256: str) -> AsyncIterator[Path]:
    """A private file with the blob's bytes, checked, gone afterwards. Raises BlobMissing."""
    with tempfile.TemporaryDirectory(prefix="vsc-blob-") as directory:
        path = Path(directory) / sha256
        await write_file(blobs, sha256, path)
        yield path

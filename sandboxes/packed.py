"""How an archive lies in a blob: zstd around it, packed and unpacked by trusted code only.

What is inside is hostile, so whoever unpacks says how large it may be.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

import zstandard

LEVEL = 3
_WINDOW_LOG = 25
"""A snapshot holds each file twice, in the tree and in its pack: so far back the twin is found."""
_CHUNK_BYTES = 2**20


def pack(source: IO[bytes], into: IO[bytes]) -> None:
    """Write `source`, packed; the same library gives the same bytes."""
    with packing(into) as packer:
        while chunk := source.read(_CHUNK_BYTES):
            packer.write(chunk)


@contextmanager
def packing(into: IO[bytes]) -> Iterator[BinaryIO]:
    """What is written to it arrives in `into`, packed. `into` stays open."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=_WINDOW_LOG, enable_ldm=True
    )
    packer = zstandard.ZstdCompressor(compression_params=parameters)
    with packer.stream_writer(into, closefd=False) as writer:
        yield cast("BinaryIO", writer)


def packed(content: bytes) -> bytes:
    """`content`, packed."""
    into = io.BytesIO()
    pack(io.BytesIO(content), into)
    return into.getvalue()


@contextmanager
def unpacked(source: BinaryIO, max_bytes: int) -> Iterator[BinaryIO]:
    """What was packed into `source`.

    Its end comes only when `source` has been read to its own, so that a depot has checked every
    byte. Raises ValueError, while it is read, past `max_bytes` and for bytes that zstd did not
    write.
    """
    engine = zstandard.ZstdDecompressor(max_window_size=2**_WINDOW_LOG)
    reader = engine.stream_reader(source, closefd=False)
    yield cast("BinaryIO", io.BufferedReader(_Capped(reader, source, max_bytes), _CHUNK_BYTES))


class _Capped(io.RawIOBase):
    def __init__(
        self, reader: zstandard.ZstdDecompressionReader, source: BinaryIO, max_bytes: int
    ) -> None:
        super().__init__()
        self._reader, self._source = reader, source
        self._max, self._left = max_bytes, max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # an unexported type
        try:
            count = self._reader.readinto(buffer)
        except zstandard.ZstdError as error:
            raise ValueError(f"the bytes are not packed as ours are: {error}") from error
        self._left -= count
        if self._left < 0:
            raise ValueError(f"unpacks to more than {self._max} bytes")
        if not count:
            while self._source.read(_CHUNK_BYTES):
                pass
        return count

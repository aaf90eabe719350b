"""A git index for files that are not there yet: each entry says what its file will look like.

Git then takes a snapshot for unchanged at first sight, with `core.checkStat=minimal`: it compares
the second of the last change, the size, and whether a file can be executed.
"""

import hashlib
import struct
from collections.abc import Mapping

_HEADER = struct.Struct(">4sII")
_TIMES = struct.Struct(">4I")
_SIZE = struct.Struct(">I")
_SIZE_AT, _FIXED_BYTES = 36, 62
_SHA1_BYTES = 20


def with_stat(index: bytes, sizes: Mapping[bytes, int], time_s: int) -> bytes:
    """`index` (version 2) with a size and a time for each path of `sizes`.

    Raises ValueError for an index that is not of that version.
    """
    signature, version, count = _HEADER.unpack_from(index)
    if (signature, version) != (b"DIRC", 2):
        raise ValueError(f"an index of version {version}; this git is too new for us")
    made, at = bytearray(index[:-_SHA1_BYTES]), _HEADER.size
    for _ in range(count):
        name_at = at + _FIXED_BYTES
        end = made.index(b"\0", name_at)
        size = sizes.get(bytes(made[name_at:end]))
        if size is not None:
            _TIMES.pack_into(made, at, time_s, 0, time_s, 0)
            _SIZE.pack_into(made, at + _SIZE_AT, size & 0xFFFFFFFF)
        at += (end - at) // 8 * 8 + 8  # an entry is filled up with one to eight NUL bytes
    checksum = hashlib.sha1(made, usedforsecurity=False).digest()  # git's own, not a proof
    return bytes(made) + checksum

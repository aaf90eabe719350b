"""Which of the chunks that a runner sent are new: numbered from 0, no gaps, each stream under its cap (pure)."""

from collections.abc import Mapping, Sequence

from control_plane.gateway.ports import Chunk, Position
from runners.protocol import Stream


class Gap(Exception):
    """A chunk skips numbers.

    The runner must send what is missing first; nothing of the request was kept.
    """


class StreamFull(Exception):
    """The stream would pass its cap; nothing of the request was kept."""


def fresh(
    positions: Mapping[Stream, Position], chunks: Sequence[Chunk], caps_bytes: Mapping[Stream, int]
) -> tuple[list[Chunk], dict[Stream, Position]]:
    """The chunks that are not kept yet, and where their streams stand when they are.

    A chunk that is known already is dropped, whatever it says now: the first copy was acknowledged.

    Raises:
        Gap, StreamFull: the request is refused as a whole.
    """
    after, new = dict(positions), []
    for chunk in chunks:
        at = after.get(chunk.stream, Position())
        if chunk.seq > at.next:
            raise Gap(f"{chunk.stream}: {at.next} is next, {chunk.seq} came")
        if chunk.seq < at.next:
            continue
        size_bytes = at.size_bytes + len(chunk.data)
        if size_bytes > caps_bytes.get(chunk.stream, 0):
            raise StreamFull(
                f"{chunk.stream}: no more than {caps_bytes.get(chunk.stream, 0)} bytes are kept"
            )
        new.append(chunk)
        after[chunk.stream] = Position(at.next + 1, size_bytes)
    return new, after

"""Which of the chunks that a runner sent are new, and the rows that keep them (pure).

Chunks of a stream are numbered from 0 without gaps. A row holds all that one request brings of a
stream, under the number of its first chunk: how finely a sandbox cuts its log costs us nothing.
"""

from collections.abc import Mapping, Sequence

from control_plane.gateway.ports import Chunk, Position, StreamCaps
from runners.protocol import Stream

Positions = Mapping[Stream, Position]


class Refused(Exception):
    """Nothing of the request was kept. `positions` says where the streams stand."""

    def __init__(self, reason: str, positions: Positions) -> None:
        super().__init__(reason)
        self.positions = positions


class Gap(Refused):
    """A chunk skips numbers; the runner must send what is missing first."""


class StreamFull(Refused):
    """The stream would pass its cap of bytes or of rows."""


def fresh(
    positions: Positions, chunks: Sequence[Chunk], caps: StreamCaps
) -> tuple[list[Chunk], dict[Stream, Position]]:
    """The rows that are not kept yet, and where their streams stand when they are.

    A chunk that is known already is dropped, whatever it says now: the first copy was acknowledged.

    Raises:
        Gap, StreamFull: the request is refused as a whole.
    """
    after = {**positions}
    rows: dict[Stream, tuple[int, bytearray]] = {}
    for chunk in chunks:
        at = after.get(chunk.stream, Position())
        if chunk.seq > at.next:
            raise Gap(f"{chunk.stream}: {at.next} is next, {chunk.seq} came", positions)
        if chunk.seq < at.next:
            continue
        new_row = chunk.stream not in rows
        rows.setdefault(chunk.stream, (chunk.seq, bytearray()))[1].extend(chunk.data)
        size_bytes = at.size_bytes + len(chunk.data)
        after[chunk.stream] = Position(at.next + 1, size_bytes, at.rows + new_row)
        _check(chunk.stream, after[chunk.stream], caps, positions)
    return [Chunk(stream, seq, bytes(data)) for stream, (seq, data) in rows.items()], after


def _check(stream: Stream, at: Position, caps: StreamCaps, positions: Positions) -> None:
    most = caps.size_bytes.get(stream, 0)
    if at.size_bytes > most:
        raise StreamFull(f"{stream}: no more than {most} bytes are kept", positions)
    if at.rows > caps.rows:
        raise StreamFull(f"{stream}: no more than {caps.rows} pieces are kept", positions)

"""The log of a run as records: from rows while a sandbox lives, then from blobs.

Memory is bounded.
"""

import codecs
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select

from control_plane.blobs.ports import Blobs
from control_plane.db.engine import Sessions
from control_plane.runs.models import LogChunk, Run, Sandbox
from control_plane.runs.rules import TERMINAL
from control_plane.runs.service import find_run
from control_plane.wake import WakeHub
from sandboxes.errors import BlobMissing

_ROWS = 4  # each is what one request brought: under 1 MiB
_LOOK_S = 60.0

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a run's log. `offset` counts bytes of each stream that is wanted."""

    stage: str | None = None
    streams: tuple[str, ...] = ("stdout", "stderr")
    offset: int = 0


@dataclass(slots=True)
class _Cursor:
    """How far one stream of one sandbox has been read."""

    seq: int = 0
    offset: int = 0
    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )


async def read(
    sessions: Sessions,
    blobs: Blobs,
    run_id: UUID,
    wanted: Wanted,
    *,
    follow: bool,
    wake: WakeHub | None = None,
) -> AsyncIterator[Record]:
    """Records `{"stage", "n", "stream", "offset", "text"}`.

    The last one is `{"end": true, "state", "verdict", "cause"}`.

    Without `follow` it ends with what there is now. A slow reader slows only this reading.
    """
    cursors: dict[tuple[UUID, str], _Cursor] = {}
    with (wake or WakeHub()).watching(run_id) as watch:
        while True:
            run, sandboxes = await _look(sessions, run_id, wanted)
            for sandbox in sandboxes:
                watch.also(sandbox.id)
                async for record in _news(sessions, blobs, sandbox, wanted, cursors):
                    yield record
            if run.state in TERMINAL or not follow:
                yield _end(run)
                return
            await watch.wait(_LOOK_S)


async def _news(
    sessions: Sessions,
    blobs: Blobs,
    sandbox: Sandbox,
    wanted: Wanted,
    cursors: dict[tuple[UUID, str], _Cursor],
) -> AsyncIterator[Record]:
    for stream in wanted.streams:
        cursor = cursors.setdefault((sandbox.id, stream), _Cursor())
        async for data in _unread(sessions, blobs, sandbox, stream, cursor):
            record = _record(sandbox, stream, cursor, data, wanted.offset)
            if record is not None:
                yield record


def _end(run: Run) -> Record:
    verdict = run.verdict.value if run.verdict else None
    return {"end": True, "state": run.state.value, "verdict": verdict, "cause": run.cause}


async def _look(sessions: Sessions, run_id: UUID, wanted: Wanted) -> tuple[Run, list[Sandbox]]:
    """The run first: when it has ended, everything that was logged is there to be read."""
    async with sessions() as session:
        run = await find_run(session, run_id)
        query = select(Sandbox).where(Sandbox.run_id == run_id).order_by(Sandbox.id)
        if wanted.stage is not None:
            query = query.where(Sandbox.stage == wanted.stage)
        return run, list((await session.scalars(query)).all())


async def _unread(
    sessions: Sessions, blobs: Blobs, sandbox: Sandbox, stream: str, cursor: _Cursor
) -> AsyncIterator[bytes]:
    sealed = ((sandbox.outcome or {}).get("streams") or {}).get(stream)
    if sealed is not None:
        with suppress(BlobMissing):  # its time of retention is over
            async for block in blobs.stream(sealed["sha256"], cursor.offset):
                yield block
        return
    while rows := await _rows(sessions, sandbox.id, stream, cursor.seq):
        for seq, data in rows:
            cursor.seq = seq + 1
            yield data


async def _rows(
    sessions: Sessions, sandbox_id: UUID, stream: str, seq: int
) -> list[tuple[int, bytes]]:
    query = (
        select(LogChunk.seq, LogChunk.data)
        .where(LogChunk.sandbox_id == sandbox_id, LogChunk.stream == stream, LogChunk.seq >= seq)
        .order_by(LogChunk.seq)
        .limit(_ROWS)
    )
    async with sessions() as session:
        return [(number, data) for number, data in (await session.execute(query)).all()]


def _record(
    sandbox: Sandbox, stream: str, cursor: _Cursor, data: bytes, skip: int
) -> Record | None:
    """The part of `data` past `skip`, as text; what is not UTF-8 becomes replacement characters."""
    start = cursor.offset
    cursor.offset += len(data)
    kept = data[max(0, skip - start) :] if skip > start else data
    text = cursor.decoder.decode(kept)
    if not text:
        return None
    return {
        "stage": sandbox.stage,
        "n": sandbox.n,
        "stream": stream,
        "offset": cursor.offset,
        "text": text,
    }

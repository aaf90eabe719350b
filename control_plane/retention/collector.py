"""The collector: looks at every blob, asks the rows which are wanted, and deletes the others."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from control_plane.blobs.ports import Blobs, Kept
from control_plane.db.engine import Sessions
from control_plane.loops import for_ever
from control_plane.repos.mirrors import Mirrors
from control_plane.retention.errors import AlreadyCollecting, StoreNotJoined
from control_plane.retention.naming import drop, names
from control_plane.retention.rules import Keep, Kind, Marks, Name, Tally, names_in
from control_plane.sites.service import has_joined
from sandboxes.errors import BlobMissing, TooLarge

log = structlog.get_logger()

_LOCK = 7_224_310_017
"""Ours among the advisory locks of the database."""
_DOCUMENT_BYTES = 256 * 2**20
_KNOWN = 200_000


@dataclass(frozen=True, slots=True)
class Survey:
    """What is there, by kind: what stays, and what would go (or has gone)."""

    kept: Mapping[Kind, Tally]
    young: Tally
    """What nothing wants, and is too new to be judged by that."""
    gone: Mapping[Kind, Tally]
    doomed: tuple[Kept, ...] = field(repr=False)

    @property
    def gone_bytes(self) -> int:
        """All that goes."""
        return sum(tally.size_bytes for tally in self.gone.values())


class Collector:
    """One process at a time collects. Holds nothing but what documents are known to name."""

    def __init__(
        self,
        sessions: Sessions,
        blobs: Blobs,
        mirrors: Mirrors,
        keep: Keep,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sessions, self._blobs, self._mirrors, self._keep = sessions, blobs, mirrors, keep
        self._clock = clock
        self._inside: dict[str, frozenset[str]] = {}

    async def serve(self, every_s: float) -> None:
        """Collect until cancelled. The first time is at once: a home may have been off for long."""

        async def once() -> None:
            try:
                survey = await self.collect()
            except AlreadyCollecting:
                return
            if survey.gone:
                log.info("retention.collected", bytes=survey.gone_bytes, blobs=len(survey.doomed))

        await for_ever("retention", once, every_s=every_s, retry_s=60.0)

    async def survey(self, now: datetime | None = None) -> Survey:
        """What `collect` would do. Nothing is changed."""
        now = now or await self._now()
        # First what is there, then what is wanted: a blob is older than its name. One that was
        # put, or made new by `renew`, within `unnamed` is not judged at all.
        there = [kept async for kept in self._blobs.every()]
        marks = await self._marks(now)
        kept: dict[Kind, Tally] = defaultdict(Tally)
        gone: dict[Kind, Tally] = defaultdict(Tally)
        young, doomed = Tally(), []
        for one in there:
            if (kind := marks.wanted.get(one.sha256)) is not None:
                kept[kind].add(one.size_bytes)
            elif one.kept_at >= now - self._keep.unnamed:
                young.add(one.size_bytes)
            else:
                gone[marks.past.get(one.sha256, Kind.UNNAMED)].add(one.size_bytes)
                doomed.append(one)
        return Survey(dict(kept), young, dict(gone), tuple(doomed))

    async def collect(self, now: datetime | None = None) -> Survey:
        """Delete what nothing wants; what has gone. Raises AlreadyCollecting, StoreNotJoined."""
        if not await has_joined(self._sessions, self._blobs):
            raise StoreNotJoined
        now = now or await self._now()
        async with self._alone():
            async with self._sessions.begin() as session:
                await drop(session, self._keep, now)
            survey = await self.survey(now)
            for one in survey.doomed:
                await self._blobs.delete(one.sha256, now - self._keep.unnamed)
            await self._blobs.sweep()
            for repo_id in self._mirrors.every():
                await self._mirrors.repack(repo_id)
        return survey

    async def _now(self) -> datetime:
        """The earlier of our clock and the database's: one that is ahead must make nothing old."""
        async with self._sessions() as session:
            theirs: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
        return min(self._clock(), theirs)

    async def _marks(self, now: datetime) -> Marks:
        marks = Marks()
        async for name in names(self._sessions, self._keep, now):
            marks.add(name, self._keep, now)
        for document in tuple(marks.documents):
            for sha256 in await self._named_inside(document):
                marks.add(Name(Kind.INSIDE, sha256, None), self._keep, now)
        return marks

    async def _named_inside(self, sha256: str) -> frozenset[str]:
        """Read once: what a blob says never changes."""
        if (known := self._inside.get(sha256)) is not None:
            return known
        try:
            found = frozenset(names_in(await self._blobs.read(sha256, _DOCUMENT_BYTES)))
        except (BlobMissing, TooLarge):  # it names nothing that anybody could find by it
            return frozenset()
        if len(self._inside) >= _KNOWN:
            self._inside.clear()
        self._inside[sha256] = found
        return found

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        engine: AsyncEngine = self._sessions.kw["bind"]
        # No transaction: it would be open for as long as the deleting takes.
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            key = {"key": _LOCK}
            if not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
                raise AlreadyCollecting("another process collects; look again in a while")
            try:
                yield
            finally:
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)

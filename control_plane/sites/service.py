"""Joining a site, staying in it, and finding those that are gone."""

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, func, or_, select, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.db.engine import Sessions
from control_plane.sites.errors import BlobsElsewhere, StoreTaken
from control_plane.sites.models import Installation, Site
from sandboxes.errors import BlobMissing, DepotUnavailable

log = structlog.get_logger()

_LETTERS = string.ascii_lowercase + string.digits
MARK = "vsc installation "
"""Before the id, in the blob that every home of an installation finds in its store."""
_A_MARK = re.compile(MARK.encode() + rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MARK_BYTES = len(MARK) + 36
_JOINING = 0x7673635F73697465  # "vsc_site"


async def installation(session: AsyncSession) -> Installation:
    """The row of this database, made by whoever asks first."""
    await _alone(session)
    found = await session.scalar(select(Installation))
    if found is None:
        found = Installation(one=True, id=new_id(), letters=_random(3))
        session.add(found)
        await session.flush()
    return found


async def join(session: AsyncSession, engine: str, home: str, lease_s: float) -> Site:
    """The site of this engine and this home, with a lease; made if it is new."""
    ours = await installation(session)
    names = set(await session.scalars(select(Site.name)))
    free = next(name for name in iter(lambda: ours.letters + _random(3), "") if name not in names)
    made = insert(Site).values(
        id=new_id(), name=free, engine=engine, home=home, lease_until=_in(lease_s)
    )
    known = made.on_conflict_do_update(
        index_elements=[Site.engine, Site.home], set_={"lease_until": _in(lease_s)}
    )
    return (await session.scalars(known.returning(Site))).one()


async def share_blobs(sessions: Sessions, blobs: Blobs, home: str, engine: str) -> bool:
    """Refuse a home whose blobs are elsewhere than those of the homes at work, or not its own.

    The first leaves a mark, a blob that follows from the installation's id. A store that does not
    answer is not judged (False).

    Raises:
        BlobsElsewhere: other homes of this database are at work, with another store.
        StoreTaken: the store has the mark of another database, and not ours.
    """
    others = or_(Site.engine != engine, Site.home != home)
    try:
        mark = _mark_of(await _known_or_made(sessions))
        if await _there(blobs, mark):
            return True
        if await _is_taken(blobs):  # before the lock: all that is in the store is listed
            raise StoreTaken
        async with sessions.begin() as session:  # one at a time; the mark is a few bytes
            await _alone(session)
            if await _somebody_works(session, others):
                raise BlobsElsewhere
            await blobs.put(mark)
    except DepotUnavailable as silent:
        log.warning("site.blobs_not_compared", error=str(silent))
        return False
    return True


async def same_blobs(sessions: Sessions, blobs: Blobs) -> None:
    """Whether whoever has no engine (an API, a gateway) has the store of the sites at work.

    It leaves no mark: which store is an installation's, is said by those who do its work.
    Raises BlobsElsewhere, DepotUnavailable.
    """
    async with sessions() as session:
        known = await session.scalar(select(Installation))
        works = await _somebody_works(session, true())
    if known is not None and works and not await _there(blobs, _mark_of(known)):
        raise BlobsElsewhere


async def has_joined(sessions: Sessions, blobs: Blobs) -> bool:
    """Whether the store has the mark of this database: its rows say what is wanted there."""
    async with sessions() as session:
        known = await session.scalar(select(Installation))
    return known is not None and await _there(blobs, _mark_of(known))


async def _known_or_made(sessions: Sessions) -> Installation:
    async with sessions.begin() as session:
        return await installation(session)


async def _somebody_works(session: AsyncSession, which: ColumnElement[bool]) -> bool:
    at_work = select(Site.id).where(which, Site.lease_until >= func.statement_timestamp())
    return await session.scalar(at_work.limit(1)) is not None


def _mark_of(ours: Installation) -> bytes:
    return f"{MARK}{ours.id}".encode()


async def _is_taken(blobs: Blobs) -> bool:
    """Whether a mark of whatever database is there."""
    async for kept in blobs.every():
        if kept.size_bytes == _MARK_BYTES:
            with suppress(BlobMissing):
                if _A_MARK.fullmatch(await blobs.read(kept.sha256, _MARK_BYTES)):
                    return True
    return False


async def _there(blobs: Blobs, mark: bytes) -> bool:
    try:
        await blobs.stat(hashlib.sha256(mark).hexdigest())
    except BlobMissing:
        return False
    return True


async def renew(session: AsyncSession, site: UUID, lease_s: float) -> None:
    """Say that somebody of the site is at work."""
    await session.execute(update(Site).where(Site.id == site).values(lease_until=_in(lease_s)))


async def of_home(session: AsyncSession, home: str, engine: str) -> Sequence[Site]:
    """The sites over a home with such an engine, as the settings name it; the last at work first.

    It is for processes that cannot ask the engine what it calls itself.
    """
    such = or_(Site.engine == engine, Site.engine.startswith(f"{engine}:", autoescape=True))
    ours = select(Site).where(Site.home == home, such)
    return (await session.scalars(ours.order_by(Site.lease_until.desc(), Site.id))).all()


async def gone(session: AsyncSession, grace_s: float) -> list[Site]:
    """Sites whose lease ended more than `grace_s` seconds ago."""
    late = select(Site).where(_late(grace_s)).order_by(Site.id)
    return list((await session.scalars(late)).all())


async def is_gone(session: AsyncSession, site: UUID, grace_s: float) -> bool:
    """Whether that site is one of those; if so, it cannot come back before the caller's commit."""
    late = select(Site.id).where(Site.id == site, _late(grace_s)).with_for_update(read=True)
    return await session.scalar(late) is not None


async def _alone(session: AsyncSession) -> None:
    """One at a time, until the caller's transaction ends."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _JOINING})


def _late(grace_s: float) -> ColumnElement[bool]:
    return Site.lease_until < func.statement_timestamp() - timedelta(seconds=grace_s)


def _in(seconds: float) -> object:
    return func.statement_timestamp() + timedelta(seconds=seconds)


def _random(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))

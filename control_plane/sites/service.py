"""Joining a site, staying in it, and finding those that are gone."""

import secrets
import string
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.base import new_id
from control_plane.sites.models import Installation, Site

_LETTERS = string.ascii_lowercase + string.digits
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
    late = Site.lease_until < func.statement_timestamp() - timedelta(seconds=grace_s)
    return list((await session.scalars(select(Site).where(late).order_by(Site.id))).all())


async def _alone(session: AsyncSession) -> None:
    """One at a time, until the caller's transaction ends."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _JOINING})


def _in(seconds: float) -> object:
    return func.statement_timestamp() + timedelta(seconds=seconds)


def _random(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))

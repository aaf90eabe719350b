"""Operator tokens: made here, shown once, compared by their hash."""

import asyncio
import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.auth.models import ApiToken
from control_plane.db.base import new_id

LOCAL_NAME = "local"
_PREFIX = "vsc_"
_USED_EVERY = timedelta(
    minutes=1
)  # `last_used_at` is for people; a write per request would be for nobody


@dataclass(frozen=True, slots=True)
class Operator:
    """Who speaks: a person or a program with a token."""

    name: str


def token_file(home: Path) -> Path:
    """Where `vsc up` leaves the token of this machine's operator."""
    return home / "operator-token"


def hash_of(token: str) -> str:
    """What is kept of a token. Tokens are 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


async def issue(session: AsyncSession, name: str, expires_at: datetime | None = None) -> str:
    """A new token for `name`; an older one of that name stops working."""
    token = _PREFIX + secrets.token_urlsafe(32)
    row = {"id": new_id(), "name": name, "token_sha256": hash_of(token), "expires_at": expires_at}
    fresh = {
        "token_sha256": hash_of(token),
        "expires_at": expires_at,
        "revoked_at": None,
        "created_at": func.now(),
    }
    await session.execute(
        insert(ApiToken)
        .values(row)
        .on_conflict_do_update(index_elements=[ApiToken.name], set_=fresh)
    )
    return token


async def authenticate(session: AsyncSession, token: str) -> Operator | None:
    """Whose token this is; None: nobody's, or it has expired or was revoked."""
    row = await session.scalar(
        select(ApiToken).where(
            ApiToken.token_sha256 == hash_of(token),
            ApiToken.revoked_at.is_(None),
            or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > func.now()),
        )
    )
    if row is None:
        return None
    stale = or_(ApiToken.last_used_at.is_(None), ApiToken.last_used_at < func.now() - _USED_EVERY)
    await session.execute(
        update(ApiToken).where(ApiToken.id == row.id, stale).values(last_used_at=func.now())
    )
    return Operator(row.name)


async def ensure_local_token(session: AsyncSession, home: Path) -> Path:
    """The file with a token that works, mode 0600.

    A token that was revoked or lost is made anew.
    """
    path = token_file(home)
    with contextlib.suppress(OSError):
        known = (await asyncio.to_thread(path.read_text)).strip()
        if await authenticate(session, known) is not None:
            return path
    await asyncio.to_thread(_write_private, path, await issue(session, LOCAL_NAME))
    return path


def _write_private(path: Path, token: str) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    partial.replace(path)

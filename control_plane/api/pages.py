"""Pages of a list in the order of UUIDv7 keys: none doubles or misses a row that was there."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

View = TypeVar("View")

After = Annotated[UUID | None, Query(description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=200)]


class Page(BaseModel, Generic[View]):
    """Some rows, and where to go on; `next` null: that was all."""

    items: list[View]
    next: UUID | None


async def page_of(
    session: AsyncSession,
    query: Select[Any],
    key: InstrumentedAttribute[UUID],
    after: UUID | None,
    limit: int,
) -> tuple[Sequence[Any], UUID | None]:
    """The newest `limit` rows older than `after`, and the cursor of the next page."""
    if after is not None:
        query = query.where(key < after)
    rows = (await session.scalars(query.order_by(key.desc()).limit(limit + 1))).all()
    more = len(rows) > limit
    rows = rows[:limit]
    cursor: UUID | None = getattr(rows[-1], key.key) if more else None
    return rows, cursor

"""One connection of a process that is told when a run wants to be looked at, or a door served."""

import asyncio
import contextlib
from collections.abc import Callable

import psycopg
from sqlalchemy.engine import make_url

from control_plane.runs.leases import CHANNEL

_RETRY_S = 2.0


async def listen(url: str, *pokes: Callable[[], None]) -> None:
    """Poke at every notification, until cancelled. It may fail: polling makes it right."""
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(
                conninfo, autocommit=True
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                async for _ in connection.notifies():
                    for poke in pokes:
                        poke()
        await asyncio.sleep(_RETRY_S)

"""One connection of a process that is told what happened, and wakes everybody there who waits.

A notification carries an id and nothing else: it only says that it is worth looking. It may be
missed, so whoever waits looks again after a while all the same.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.loops import for_ever

RUNS, LOGS = "vsc_runs", "vsc_logs"
"""The channels: the id of a run that moved or wants to be looked at; of a sandbox that logged."""

_SAFETY_S = 10.0
"""How long somebody waits who is told of everything, and may yet have missed something."""
_ALONE_S = 0.4
"""The same while there is no connection."""


async def notify(session: AsyncSession, channel: str, key: UUID) -> None:
    """Tell every hub when the session's transaction commits."""
    await session.execute(
        text("SELECT pg_notify(:channel, :key)"), {"channel": channel, "key": str(key)}
    )


class Watch:
    """Somebody who waits for news of some ids."""

    def __init__(self, hub: "WakeHub") -> None:
        self._hub, self._news = hub, asyncio.Event()
        self.keys: set[str] = set()

    def also(self, key: UUID) -> None:
        """Watch this id, too."""
        self.keys.add(str(key))

    def told(self) -> None:
        """There is news."""
        self._news.set()

    async def wait(self, at_most_s: float) -> None:
        """Until there is news since the last wait, or it is time to look all the same."""
        longest_s = _SAFETY_S if self._hub.connected else _ALONE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(at_most_s, longest_s)):
                await self._news.wait()
        self._news.clear()


class WakeHub:
    """Who waits in this process. Without `serve` beside it everybody polls."""

    def __init__(self) -> None:
        self.connected = False
        self._watches: set[Watch] = set()
        self._pokes: set[Callable[[], None]] = set()

    @contextlib.contextmanager
    def watching(self, *keys: UUID) -> Iterator[Watch]:
        """Watch some ids. Enter it before the first look, so that nothing falls in between."""
        watch = Watch(self)
        for key in keys:
            watch.also(key)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    @contextlib.contextmanager
    def poking(self, poke: Callable[[], None]) -> Iterator[None]:
        """Call `poke` at each notification of a run, whichever it is."""
        self._pokes.add(poke)
        try:
            yield
        finally:
            self._pokes.discard(poke)

    def tell(self, channel: str, key: str) -> None:
        """Wake those whom it concerns."""
        for watch in self._watches:
            if key in watch.keys:
                watch.told()
        if channel == RUNS:
            for poke in self._pokes:
                poke()

    def tell_all(self) -> None:
        """Wake everybody: nobody knows what was missed."""
        for watch in self._watches:
            watch.told()
        for poke in self._pokes:
            poke()

    async def serve(self, url: str) -> None:
        """Listen until cancelled; a connection that breaks is made anew."""
        given = make_url(url).set(drivername="postgresql")
        address = given.render_as_string(hide_password=False)
        await for_ever("wake", lambda: self._listen(address), every_s=0.0)

    async def _listen(self, address: str) -> None:
        connecting = psycopg.AsyncConnection.connect(address, autocommit=True)
        async with await connecting as connection:
            for channel in (RUNS, LOGS):
                await connection.execute(f"LISTEN {channel}")
            self.connected = True
            try:
                self.tell_all()
                async for one in connection.notifies():
                    self.tell(one.channel, one.payload)
            finally:
                self.connected = False
                self.tell_all()

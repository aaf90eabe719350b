"""Which doors are open follows from the rows: those of living sandboxes, whoever drives their runs.

A door belongs to its row, so nobody closes it but the row's end: a worker that lost its lease
changes nothing here. Any gateway of the site may serve it; the one that does holds a lock that
dies with it, and the others look again at every poll.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol
from uuid import UUID

import structlog
from sqlalchemy import false, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.engine import Sessions
from control_plane.gateway.access import access_of
from control_plane.gateway.door import Doors
from control_plane.gateway.egress import Malformed
from control_plane.gateway.sockets import NoDirectory, Served
from control_plane.runs.leases import notify
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.rules import TERMINAL, SandboxState
from sandboxes.doors import DoorDirectory
from sandboxes.errors import ProviderUnavailable

log = structlog.get_logger()

_LIVING = (SandboxState.PLANNED, SandboxState.LAUNCHED)
_LOOK_S = 0.02
_AGAIN_S = 0.05
"""Between two looks at the rows, however often we are poked."""
OPEN_WITHIN_S = 60.0

Marks = Callable[[AsyncSession], Awaitable[Collection[str]]]
"""The names of the sites whose sandboxes a gateway serves."""


_SENSELESS = (Malformed, ValueError, TypeError, KeyError)
"""What a row says that makes no door."""


class DoorBell(Protocol):
    """How an orchestrator has a door served before it starts who will stand behind it."""

    async def answered(self, sandbox_id: UUID, directory: DoorDirectory) -> None:
        """Make the directory, and return when a gateway listens there.

        Raises ProviderUnavailable: no gateway can, or none came within a minute; try again later.
        """


class DoorKeeper:
    """The loop of a gateway, and the bell of an orchestrator in the same process.

    `where` says where a sandbox has its door (`SandboxProvider.door`, or its like without an
    engine); `marks` are in the names of the sandboxes that are ours.
    """

    def __init__(
        self,
        *,
        sessions: Sessions,
        doors: Doors,
        where: Callable[[str], DoorDirectory],
        marks: Marks,
        poll_s: float = 1.0,
    ) -> None:
        self._sessions, self._doors, self._where = sessions, doors, where
        self._marks, self._poll_s = marks, poll_s
        self._poked = asyncio.Event()
        self._trouble: Exception | None = None
        self._broken: set[UUID] = set()
        """Rows that make no sense and were said. Who waits for their door: see `answered`."""

    def poke(self) -> None:
        """Rows may have changed."""
        self._poked.set()

    async def probe(self) -> str:
        """How many doors are open (`services.Probe`). Raises what the last look has met."""
        if self._trouble is not None:
            raise self._trouble
        return f"{len(self._doors.names())} open"

    async def serve(self) -> None:
        """Follow the rows until cancelled, then close what is open here."""
        try:
            while True:
                await self._looked()
                await asyncio.sleep(_AGAIN_S)
                # Not wait_for: before Python 3.12 it loses a cancel that comes with the time-out.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._poked.wait()
                self._poked.clear()
        finally:
            await self._doors.close_all()

    async def _looked(self) -> None:
        try:
            await self.look()
        except SQLAlchemyError as error:
            log.warning("doors.database_away", error=str(error))
            self._trouble = error
        except Exception as error:  # one door must not end the process that serves the others
            log.exception("doors.look_failed")
            self._trouble = error
        else:
            self._trouble = None

    async def look(self) -> None:
        """Open what the rows want, close what they do not."""
        known = self._doors.names()  # before the query: later ones may not be in its answer
        async with self._sessions() as session:
            wanted = await _wanted(session, await self._marks(session))
            missing = [wanted[name] for name in wanted.keys() - self._doors.names()]
            self._broken &= set(missing)
            missing = [one for one in missing if one not in self._broken]
            rows = await session.scalars(select(Sandbox).where(Sandbox.id.in_(missing)))
            new = list(rows) if missing else []
        for row in new:
            try:
                await self._open(row)
            except _SENSELESS:  # it must not keep others closed
                self._broken.add(row.id)
                log.exception("doors.not_opened", sandbox=row.name)
            except Exception:  # nor must one that this machine fails at; it is tried again
                log.exception("doors.not_opened", sandbox=row.name)
        await asyncio.gather(*(self._doors.close(name) for name in known - wanted.keys()))

    async def answered(self, sandbox_id: UUID, directory: DoorDirectory) -> None:
        """Open it here and now, if no other gateway has it (`DoorBell.answered`)."""
        await made(directory)
        async with self._sessions() as session:
            row = await session.get_one(Sandbox, sandbox_id)
        if row.state in _LIVING:
            try:
                await self._open(row)
            except (*_SENSELESS, OSError) as error:
                raise ProviderUnavailable(
                    f"the door of {row.name} stays closed: {error}"
                ) from error
        await listened(directory)

    async def _open(self, row: Sandbox) -> None:
        with contextlib.suppress(NoDirectory, Served):
            await self._doors.open(row.name, self._where(row.name), access_of(row))


class DistantGateway:
    """The bell of an orchestrator whose gateway is another process: wakes it and waits."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def answered(self, sandbox_id: UUID, directory: DoorDirectory) -> None:
        """Make the directory, tell the gateways, wait for a socket (`DoorBell.answered`)."""
        await made(directory)
        async with self._sessions.begin() as session:
            row = await session.get_one(Sandbox, sandbox_id)
            await notify(session, row.run_id)
        await listened(directory)


async def _wanted(session: AsyncSession, marks: Collection[str]) -> dict[str, UUID]:
    ours = (Sandbox.name.startswith(f"vsc-{mark}-") for mark in marks)
    living = (
        select(Sandbox.name, Sandbox.id)
        .join(Run, Run.id == Sandbox.run_id)
        .where(
            Sandbox.state.in_(_LIVING),
            Sandbox.state != SandboxState.DESTROYED,  # the index's own condition
            or_(false(), *ours),
            Run.state.not_in(TERMINAL),
        )
    )
    return {row.name: row.id for row in await session.execute(living)}


async def made(directory: DoorDirectory) -> None:
    """Have the directory there. Raises ProviderUnavailable."""
    try:
        await asyncio.to_thread(directory.make)
    except OSError as error:
        raise ProviderUnavailable(f"this host cannot make a door: {error}") from error


async def listened(directory: DoorDirectory, within_s: float = OPEN_WITHIN_S) -> None:
    """Wait until a gateway has bound the door. Raises ProviderUnavailable."""
    try:
        async with asyncio.timeout(within_s):
            while not directory.http.is_socket():  # noqa: ASYNC110 -- another process binds it
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise ProviderUnavailable(
            f"no gateway opened {directory.path} within {within_s:g} s; start one:"
            " vsc up --only gateway"
        ) from None

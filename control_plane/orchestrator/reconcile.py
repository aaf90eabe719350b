"""What the engine has and what the rows say, brought together both ways (DESIGN section 5).

Engine without row, or of a run that has ended: destroyed after a grace. Row without engine: the
run's own holder sees it as LOST when it waits; here only the rows of ended runs are cleared.
"""

import time
from uuid import UUID

import structlog
from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.loops import for_ever
from control_plane.orchestrator.streams import forget_chunks, seal_streams
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.rules import TERMINAL, SandboxState
from sandboxes.names import SandboxName
from sandboxes.ports import SandboxProvider
from sandboxes.spec import SandboxSummary

log = structlog.get_logger()


class Reconciler:
    """Destroys what nobody wants.

    A sandbox is only destroyed when it has been unwanted for `grace_s` seconds on end.
    """

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        provider: SandboxProvider,
        blobs: Blobs,
        install: str,
        grace_s: float = 30.0,
        every_s: float = 15.0,
    ) -> None:
        self._sessions, self._provider, self._blobs = sessions, provider, blobs
        self._install = install
        self._grace_s, self._every_s = grace_s, every_s
        self._unwanted_since: dict[str, float] = {}

    async def serve(self) -> None:
        """Reconcile until cancelled."""
        await for_ever("reconcile", self.once, every_s=self._every_s)

    async def once(self) -> list[str]:
        """One look at everything; the names of what was destroyed."""
        seen = [summary async for summary in self._provider.owned()]
        wanted = await self._wanted()
        now, destroyed = time.monotonic(), []
        unwanted = {
            summary.name
            for summary in seen
            if self._is_ours(summary) and summary.name not in wanted
        }
        self._unwanted_since = {name: self._unwanted_since.get(name, now) for name in unwanted}
        for summary in seen:
            since = self._unwanted_since.get(summary.name, now)
            due = summary.name in unwanted and now - since >= self._grace_s
            if due and await self._destroyed(summary):
                destroyed.append(summary.name)
        await self._clear_rows({summary.name for summary in seen} - set(destroyed))
        return destroyed

    async def _destroyed(self, summary: SandboxSummary) -> bool:
        """Destroy it; one that cannot be destroyed now keeps no other one alive."""
        try:
            await self._provider.destroy(summary.id)
        except Exception as error:  # the next round sees it again
            log.warning("reconcile.not_destroyed", sandbox=summary.name, exc_info=error)
            return False
        log.info("reconcile.destroyed", sandbox=summary.name)
        return True

    def _is_ours(self, summary: SandboxSummary) -> bool:
        name = SandboxName.parse(summary.name)
        return name is not None and name.install == self._install

    async def _wanted(self) -> set[str]:
        """Names of sandboxes that a live run may still need: also ended and not yet cleared."""
        query = (
            select(Sandbox.name)
            .join(Run, Run.id == Sandbox.run_id)
            .where(Run.state.not_in(TERMINAL), Sandbox.state != SandboxState.DESTROYED)
        )
        async with self._sessions() as session:
            return set(await session.scalars(query))

    async def _clear_rows(self, present: set[str]) -> None:
        """Rows of ended runs whose sandbox is no longer there say so."""
        ended = exists().where(Run.id == Sandbox.run_id, Run.state.in_(TERMINAL))
        stale = select(Sandbox.id).where(
            Sandbox.state != SandboxState.DESTROYED,
            Sandbox.name.startswith(f"vsc-{self._install}-"),
            Sandbox.name.not_in(present),
            ended,
        )
        async with self._sessions() as session:
            gone = list(await session.scalars(stale))
        for sandbox_id in gone:
            await self._clear_row(sandbox_id)

    async def _clear_row(self, sandbox_id: UUID) -> None:
        """What it logged until it was lost becomes blobs, as that of any other."""
        streams = await seal_streams(self._sessions, self._blobs, sandbox_id)
        async with self._sessions.begin() as session:
            row = await session.get_one(Sandbox, sandbox_id, with_for_update=True)
            if streams and "streams" not in (row.outcome or {}):
                told = {name: one.to_json() for name, one in streams.items()}
                row.outcome = (row.outcome or {}) | {"streams": told}
            row.state, row.destroyed_at = SandboxState.DESTROYED, func.now()
            await forget_chunks(session, sandbox_id)

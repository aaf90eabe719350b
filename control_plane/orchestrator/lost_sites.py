"""What becomes of the runs of a site that is gone longer than its lease and a grace.

Its sessions are LOST: what an agent was doing there cannot be taken up elsewhere. All else that it
had begun is begun again by another site, under the next `n`.
"""

from datetime import UTC, datetime

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.streams import forget_chunks, seal_streams
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.moves import begin_again
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState
from control_plane.sites.models import Site
from control_plane.sites.service import gone, is_gone
from sandboxes.documents import outcome_to_json
from sandboxes.spec import Ended, SandboxOutcome

log = structlog.get_logger()

_AN_AGENT_WORKED = frozenset({RunState.EXECUTING, RunState.DEHYDRATING})


class LostSites:
    """Any orchestrator may look; a run is dealt with once, under its row's lock."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], blobs: Blobs, grace_s: float
    ) -> None:
        self._sessions, self._blobs, self._grace_s = sessions, blobs, grace_s

    async def once(self) -> int:
        """How many runs were told lost or given to other sites."""
        async with self._sessions() as session:
            sites = await gone(session, self._grace_s)
        return sum([await self._leave(site) for site in sites])

    async def _leave(self, site: Site) -> int:
        async with self._sessions() as session:
            query = select(Run.id).where(Run.site_id == site.id, Run.state.not_in(TERMINAL))
            runs = list(await session.scalars(query))
        left = 0
        for run in runs:
            await self._sandboxes_lost(run, site)
            async with self._sessions.begin() as session:
                left += await self._leave_run(session, run, site)
        return left

    async def _sandboxes_lost(self, run: object, site: Site) -> None:
        """Each sandbox that it had under way has ended, as far as anybody here can know.

        Looked at afresh before each: sealing a log takes time, in which the site may come back, or
        another one begin the run again.
        """
        async with self._sessions() as session:
            open_ = select(Sandbox.id).where(
                Sandbox.run_id == run,
                Sandbox.name.startswith(f"vsc-{site.name}-"),  # not those of who began it again
                Sandbox.state.in_((SandboxState.PLANNED, SandboxState.LAUNCHED)),
            )
            sandboxes = list(await session.scalars(open_))
        for sandbox in sandboxes:
            if not await self._still_gone(site):
                return
            streams = await seal_streams(self._sessions, self._blobs, sandbox)
            outcome = SandboxOutcome(Ended.LOST, None, _cause(site))
            async with self._sessions.begin() as session:
                if not await is_gone(session, site.id, self._grace_s):
                    return
                row = await session.get_one(Sandbox, sandbox, with_for_update=True)
                if row.state in (SandboxState.PLANNED, SandboxState.LAUNCHED):
                    sealed = {name: one.to_json() for name, one in streams.items()}
                    row.state = SandboxState.DESTROYED
                    row.outcome = outcome_to_json(outcome) | {"streams": sealed}
                    row.ended_at = row.destroyed_at = datetime.now(UTC)
                await forget_chunks(session, sandbox)

    async def _still_gone(self, site: Site) -> bool:
        async with self._sessions.begin() as session:
            return await is_gone(session, site.id, self._grace_s)

    async def _leave_run(self, session: AsyncSession, run_id: object, site: Site) -> bool:
        """Unless the site has come back, or another orchestrator was first."""
        query = select(Run).where(
            Run.id == run_id, Run.site_id == site.id, Run.state.not_in(TERMINAL)
        )
        run = await session.scalar(query.with_for_update(key_share=True))
        if run is None or not await is_gone(session, site.id, self._grace_s):
            return False
        log.warning("site.gone", site=site.name, run=str(run.id), state=run.state)
        if run.kind is RunKind.SESSION and run.state in _AN_AGENT_WORKED:
            await lose(session, run, epoch=None, cause=_cause(site))
        else:
            await begin_again(session, run.id, cause=_cause(site))
        return True


def _cause(site: Site) -> str:
    return f"its site is gone: nobody at {site.engine} over {site.home} has renewed its lease"

"""One sandbox of a run, from its row to its end; after a crash, doing it again is harmless.

The row comes first (with the whole spec), then the door, then the engine. A restart finds the row,
launches the same spec under the same name, which the provider adopts, and waits again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.gateway.grants import granted
from control_plane.gateway.keeper import DoorBell
from control_plane.orchestrator.lease import Lease
from control_plane.orchestrator.results import read_document, want_of_us
from control_plane.orchestrator.specs import Draft, place
from control_plane.orchestrator.streams import SealedStream, forget_chunks, seal_streams
from control_plane.runs.errors import LeaseLost
from control_plane.runs.models import Sandbox
from control_plane.runs.moves import append_event
from control_plane.runs.rules import SandboxState
from runners import protocol
from sandboxes.documents import outcome_from_json, outcome_to_json, spec_from_json, spec_to_json
from sandboxes.names import SandboxName
from sandboxes.ports import SandboxProvider
from sandboxes.spec import Ended, SandboxId, SandboxOutcome, SandboxSpec

log = structlog.get_logger()

RELAUNCHED = {Ended.EVICTED, Ended.PREEMPTED, Ended.LOST}
"""The platform's fault, not the command's: the stage starts again under the next `n`."""
MAX_LAUNCHES = 3
TERMINATE_GRACE_S = 10.0
TERMINATE_AGAIN_S = 1.0
INPUT_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class StageEnd:
    """A stage whose sandbox is gone. What it left is in blobs."""

    stage: str
    n: int
    outcome: SandboxOutcome
    streams: Mapping[str, SealedStream]
    started_at: datetime
    ended_at: datetime


class Stages:
    """Runs stages of one run after another or side by side. Holds no state of its own."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        provider: SandboxProvider,
        blobs: Blobs,
        doors: DoorBell,
        install: str,
        site: UUID,
        image: str,
        runner: Callable[[str], Awaitable[str]],
        concurrency: int,
    ) -> None:
        self._sessions, self._provider, self._blobs, self._doors = sessions, provider, blobs, doors
        self._install, self._image, self._runner = install, image, runner
        self._site = site
        self._slots = asyncio.Semaphore(concurrency)

    async def run(self, lease: Lease, draft: Draft, *, attempt: int = 0) -> StageEnd:
        """Run `draft` to its end, `MAX_LAUNCHES` times at most where the platform fails.

        `attempt` tells apart the times that a run wants the same stage again (a patch that is
        judged once more).

        Raises:
            LeaseLost: the run has passed to another worker meanwhile.
            SandboxStartFailed: the engine refuses the spec.
        """
        first = attempt * MAX_LAUNCHES
        for n in range(first, first + MAX_LAUNCHES):
            row = await self._planned(lease, draft, n)
            end = await self._to_its_end(lease, row)
            if end.outcome.ended not in RELAUNCHED:
                break
        return end

    async def end_of(self, lease: Lease, stage: str) -> StageEnd:
        """The end on record of a stage that `run` has seen to its end."""
        async with self._sessions() as session:
            query = select(Sandbox).where(Sandbox.run_id == lease.run_id, Sandbox.stage == stage)
            row = await session.scalar(query.order_by(Sandbox.n.desc()).limit(1))
        if row is None:
            raise RuntimeError(f"run {lease.run_id} has no sandbox of stage {stage}")
        return stage_end(row)

    async def _planned(self, lease: Lease, draft: Draft, n: int) -> Sandbox:
        """The row of this launch, made if it is new.

        Every blob is written before the row that names it.
        """
        async with self._sessions() as session:
            known = await session.scalar(
                select(Sandbox).where(
                    Sandbox.run_id == lease.run_id, Sandbox.stage == draft.stage, Sandbox.n == n
                )
            )
        if known is not None:
            return known
        granted(draft.stage, draft.egress)
        name = SandboxName(self._install, lease.run_id, draft.stage, n)
        blobs = await self._stored(draft)
        blobs[protocol.RUNNER] = await self._runner(self._image)
        spec = place(draft, name=name, image=self._image, blobs=blobs)
        row = Sandbox(
            id=new_id(),
            run_id=lease.run_id,
            stage=draft.stage,
            n=n,
            name=spec.name,
            fingerprint=spec.fingerprint(),
            spec=spec_to_json(spec),
            state=SandboxState.PLANNED,
        )
        async with self._sessions.begin() as session:
            run = await lease.check(session)
            if run.site_id not in (None, self._site):
                raise LeaseLost(run.id)
            run.site_id = self._site
            session.add(row)
            await append_event(
                session, lease.run_id, "stage.planned", {"stage": draft.stage, "n": n}
            )
        return row

    async def _stored(self, draft: Draft) -> dict[str, str]:
        """Make blobs of the draft's files."""
        files = {file.path: file.contents for file in draft.files} | {
            protocol.CAPSULE: draft.capsule_bytes()
        }
        return {
            path: (await self._blobs.put(data, INPUT_BYTES)).sha256 for path, data in files.items()
        }

    async def _to_its_end(self, lease: Lease, row: Sandbox) -> StageEnd:
        if row.state in (SandboxState.PLANNED, SandboxState.LAUNCHED):
            async with self._slots:
                row = await self._live(lease, row)
        if row.state is SandboxState.ENDED:
            await self._clear(row)
        return stage_end(row)

    async def _live(self, lease: Lease, row: Sandbox) -> Sandbox:
        """Have its door served, launch or adopt, wait, and record the end: that closes the door."""
        spec = spec_from_json(row.spec)
        if spec.door:
            await self._doors.answered(row.id, self._provider.door(spec.name))
        sandbox = await self._launched(lease, row, spec)
        outcome = await self._whole(row, await self._provider.wait(sandbox))
        streams = await seal_streams(self._sessions, self._blobs, row.id)
        ended_at = outcome.finished_at or datetime.now(UTC)
        changes: dict[str, Any] = {
            "state": SandboxState.ENDED,
            "outcome": outcome_to_json(outcome)
            | {"streams": {name: one.to_json() for name, one in streams.items()}},
            "ended_at": ended_at,
        }
        payload = {
            "stage": row.stage,
            "n": row.n,
            "ended": outcome.ended,
            "exit_code": outcome.exit_code,
            "detail": outcome.detail,
        }
        return await self._record(lease, row, changes, "stage.ended", payload)

    async def _whole(self, row: Sandbox, outcome: SandboxOutcome) -> SandboxOutcome:
        """A stage of ours that ended, but could not do its work for want of us, is lost.

        It happens where no gateway of the site was up when its tests ended, nor soon after; and
        where no index answered from which to install.
        """
        if outcome.ended is not Ended.COMPLETED:
            return outcome
        result = await read_document(self._blobs, outcome.outputs.get(protocol.RESULT))
        why = want_of_us(row.stage, result)
        return replace(outcome, ended=Ended.LOST, detail=why) if why else outcome

    async def _launched(self, lease: Lease, row: Sandbox, spec: SandboxSpec) -> SandboxId:
        sandbox = await self._provider.launch(spec)
        if row.engine_id != sandbox:
            changes = {
                "state": SandboxState.LAUNCHED,
                "engine_id": str(sandbox),
                "launched_at": datetime.now(UTC),
            }
            await self._record(
                lease, row, changes, "stage.launched", {"stage": row.stage, "n": row.n}
            )
        return sandbox

    async def _record(
        self,
        lease: Lease,
        row: Sandbox,
        changes: Mapping[str, Any],
        event: str,
        payload: dict[str, Any],
    ) -> Sandbox:
        async with self._sessions.begin() as session:
            run = await lease.check(session)
            if changes["state"] is SandboxState.ENDED:
                # A step done: whoever died before counts no more against this one.
                run.claims = run.holders = 1
            ours = await session.get_one(Sandbox, row.id, with_for_update=True)
            for column, value in changes.items():
                setattr(ours, column, value)
            await append_event(session, lease.run_id, event, payload)
            await session.flush()
            session.expunge(ours)
        return ours

    async def _clear(self, row: Sandbox) -> None:
        """Remove what carries the sandbox's name.

        No fence: its end is recorded, so destroying it again changes nothing.
        """
        if row.engine_id is not None:
            await self._provider.destroy(SandboxId(row.engine_id))
        async with self._sessions.begin() as session:
            ours = await session.get_one(Sandbox, row.id, with_for_update=True)
            ours.state, ours.destroyed_at = SandboxState.DESTROYED, func.now()
            await forget_chunks(session, row.id)

    @asynccontextmanager
    async def stopped_by(self, cancelled: asyncio.Event, lease: Lease) -> AsyncIterator[None]:
        """While the body waits for sandboxes of the run, a cancel ends them.

        What they leave is still taken.
        """

        async def stop() -> None:
            await cancelled.wait()
            while True:  # one may be between its launch and its row
                await self.terminate(lease, TERMINATE_GRACE_S)
                await asyncio.sleep(TERMINATE_AGAIN_S)

        stopper = asyncio.create_task(stop())
        try:
            yield
        finally:
            stopper.cancel()

    async def terminate(self, lease: Lease, grace_s: float) -> None:
        """Ask every live sandbox of the run to stop; whoever waits for one sees its end."""
        async with self._sessions() as session:
            live = await session.scalars(
                select(Sandbox.engine_id).where(
                    Sandbox.run_id == lease.run_id, Sandbox.state == SandboxState.LAUNCHED
                )
            )
        await asyncio.gather(
            *(self._provider.terminate(SandboxId(one), grace_s) for one in live if one is not None)
        )


def stage_end(row: Sandbox) -> StageEnd:
    """The end that a row has on record. Only for sandboxes that have ended."""
    assert row.outcome is not None, f"sandbox {row.name} has not ended"  # noqa: S101 -- the caller saw it
    document = dict(row.outcome)
    streams = {name: SealedStream(**one) for name, one in document.pop("streams").items()}
    outcome = outcome_from_json(document)
    return StageEnd(
        stage=row.stage,
        n=row.n,
        outcome=outcome,
        streams=streams,
        started_at=outcome.started_at or row.created_at,
        ended_at=outcome.finished_at or row.ended_at or row.created_at,
    )

"""The runs of kind `session`: one agent works once, in a sandbox of its own (DESIGN section 5)."""

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.judgements.service import queue_judgement
from control_plane.orchestrator.children import Wanted
from control_plane.orchestrator.ending import lose
from control_plane.orchestrator.environment_cache import EnvironmentCache, Prepared, Unpreparable
from control_plane.orchestrator.gathering import CHANGES_BYTES
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.results import read_document
from control_plane.orchestrator.run_moves import RunMoves, cancel_run
from control_plane.orchestrator.specs import EXECUTE, Draft, session_draft
from control_plane.orchestrator.stages import StageEnd, Stages
from control_plane.packets.models import Packet
from control_plane.repos.heads import Heads
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.repos.trees import ChangeTooLarge
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState
from control_plane.sessions.checking import checked
from control_plane.sessions.documents import DOCUMENT, DOCUMENT_BYTES
from control_plane.sessions.drivers import Product, driver_from_json, kind
from control_plane.sessions.endings import End, SessionEnd, session_end
from control_plane.sessions.models import AgentSession
from control_plane.sessions.rules import SessionStatus
from control_plane.sessions.submissions import what_counts
from control_plane.tasks.models import Task
from control_plane.tasks.moves import apply_effect
from control_plane.tasks.rules import effect_of
from quality_gates.model import Verdict
from runners import protocol
from runners.changes import CHANGES, PATCH, RefusedEntry, changes_from_json
from sandboxes.errors import SandboxStartFailed
from sandboxes.spec import Against, Workspace

_STATUS = {End.SUCCESS: SessionStatus.SUCCESS, End.FAILURE: SessionStatus.FAILURE}
_EMPTY = hashlib.sha256(b"").hexdigest()
MAX_REFUSED = 300
"""Refused entries that the session's row and its report name; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a session left: columns of its row."""

    patch_sha256: str | None = None
    head_tree: str | None = None
    refused: tuple[str, ...] = ()
    document_sha256: str | None = None

    @property
    def kept(self) -> str:
        """What of it is found although the agent failed, in the words of the run's cause."""
        if self.document_sha256 is not None:
            return "; the document that it left is kept as the run's document"
        if self.patch_sha256 not in (None, _EMPTY):
            return "; its work in progress is kept as the run's patch"
        return ""


class SessionRuns:
    """QUEUED -> HYDRATING -> EXECUTING -> DEHYDRATING -> FINISHED."""

    def __init__(
        self,
        *,
        sessions: async_sessionmaker[AsyncSession],
        stages: Stages,
        moves: RunMoves,
        environments: EnvironmentCache,
        blobs: Blobs,
        mirrors: Mirrors,
        heads: Heads,
        snapshots: Snapshots,
    ) -> None:
        self._sessions, self._stages, self._moves = sessions, stages, moves
        self._environments, self._blobs = environments, blobs
        self._mirrors, self._heads, self._snapshots = mirrors, heads, snapshots
        self._handlers = {
            RunState.HYDRATING: self._hydrating,
            RunState.EXECUTING: self._executing,
            RunState.DEHYDRATING: self._dehydrating,
        }

    async def step(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run | Again:
        """Do the next thing.

        A cancel is seen between two things, and at once where a sandbox lives. What has been
        executed is dehydrated first: work in progress is kept.
        """
        wanted = run.cancel_requested_at is not None or cancelled.is_set()
        if wanted and run.state in (RunState.QUEUED, RunState.HYDRATING):
            return await self._moves.cancel(run, lease)
        if run.state is RunState.QUEUED:
            return await self._moves.begin(run, lease)
        return await self._handlers[run.state](run, lease, cancelled)

    async def _hydrating(self, run: Run, lease: Lease, _: asyncio.Event) -> Run | Again:
        """The base tree, and the base's environment where the driver wants it."""
        await self._snapshots.ensure(run.repo_id, run.base_commit)
        own = await self._own(run)
        found = await self._environment(run, own)
        if isinstance(found, Wanted):
            return await self._moves.wait_for(lease, found)
        if isinstance(found, Unpreparable):
            return await self._not_begun(run, lease, found.reason)
        async with self._sessions.begin() as session:
            moved = await move_run(session, run.id, RunState.EXECUTING, epoch=lease.epoch)
            row = await session.get_one(AgentSession, run.id)
            row.environment_id = found.id if found is not None else None
        return moved

    async def _executing(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run:
        """The sandbox, from its launch to its end.

        After a restart it is found again by its name.
        """
        try:
            async with self._stages.stopped_by(cancelled, lease):
                end = await self._stages.run(lease, await self._draft(run))
        except SandboxStartFailed as refusal:
            return await self._moves.lose(run, lease, f"the session could not start: {refusal}")
        payload = {"ended": end.outcome.ended.value}
        return await self._moves.move(run, lease, RunState.DEHYDRATING, payload=payload)

    async def _dehydrating(self, run: Run, lease: Lease, _: asyncio.Event) -> Run:
        """The product, made from objects of our own, and where it goes from here."""
        end, own = await self._stages.end_of(lease, EXECUTE), await self._own(run)
        result = await read_document(self._blobs, end.outcome.outputs.get(protocol.RESULT))
        how = session_end(end.outcome, result, cancel_requested=run.cancel_requested_at is not None)
        if own.output_schema is None:
            left = await self._patch(run, end)
        else:
            left, how = await self._document(end, own, own.output_schema, how)
        return await self._ended(run, lease, end, how, left)

    async def _own(self, run: Run) -> AgentSession:
        async with self._sessions() as session:
            return await session.get_one(AgentSession, run.id)

    async def _environment(
        self, run: Run, own: AgentSession
    ) -> Prepared | Wanted | Unpreparable | None:
        if not kind(driver_from_json(own.driver)).needs_environment:
            return None
        return await self._environments.find(run, run.base_commit)

    async def _draft(self, run: Run) -> Draft:
        """The agent's sandbox; the same every time it is asked for."""
        own = await self._own(run)
        found = await self._environment(run, own)
        async with self._sessions() as session:
            packet = await session.scalar(select(Packet.document).where(Packet.id == own.packet_id))
        base = await self._snapshots.ensure(run.repo_id, run.base_commit)
        return session_draft(
            run=str(run.id),
            driver=driver_from_json(own.driver),
            product=Product.PATCH if own.output_schema is None else Product.DOCUMENT,
            deadline_s=run.deadline_s,
            workspace=Workspace(base=base, against=Against.BASE),
            environment=found.layers if isinstance(found, Prepared) else (),
            packet=json.dumps(packet, sort_keys=True).encode(),
        )

    async def _patch(self, run: Run, end: StageEnd) -> Left:
        """The patch, made again from objects of our own: what is judged is what applies to base."""
        listed, patch = end.outcome.collected.get(CHANGES), end.outcome.collected.get(PATCH)
        if listed is None or patch is None:
            nothing = await self._blobs.put(b"")
            base_tree = await self._mirrors.tree_of(run.repo_id.hex, run.base_commit)
            reason = end.outcome.uncollected or "what the agent left could not be collected"
            return Left(nothing.sha256, base_tree, (reason,))
        document = await self._blobs.read(listed.sha256, CHANGES_BYTES)
        told = await asyncio.to_thread(changes_from_json, document)
        try:
            tree = await self._heads.made(run.repo_id.hex, run.base_commit, patch.sha256)
        except ChangeTooLarge as too_large:
            base_tree = await self._mirrors.tree_of(run.repo_id.hex, run.base_commit)
            return Left(patch.sha256, base_tree, (f"the change: {too_large}",))
        if told.tree is not None and told.tree != tree:  # a bug of ours; it must never be judged
            raise RuntimeError(f"patch {patch.sha256} makes tree {tree}, not {told.tree}")
        return Left(patch.sha256, tree, told_refusals(told.refused))

    async def _document(
        self, end: StageEnd, own: AgentSession, schema: Mapping[str, Any], how: SessionEnd
    ) -> tuple[Left, SessionEnd]:
        """The document, kept whatever it is; one that does not satisfy its schema is a failure."""
        made = end.outcome.outputs.get(DOCUMENT)
        no_file = end.outcome.refused.get(DOCUMENT, f"there is no {protocol.OUT}/{DOCUMENT}")
        counts = what_counts(own.submitted, made.sha256 if made is not None else None, no_file)
        if counts.sha256 is None:
            return Left(), _unless(how, f"the agent left no document: {counts.why}")
        if not counts.checked:
            content = await self._blobs.read(counts.sha256, DOCUMENT_BYTES)
            if wrong := await checked(content, schema):
                told = "; ".join(str(one) for one in wrong)
                how = _unless(how, f"the document does not satisfy its schema: {told}"[:2000])
        return Left(document_sha256=counts.sha256), how

    async def _not_begun(self, run: Run, lease: Lease, why: str) -> Run:
        """The base's environment cannot be had: nobody's failure, and a person's matter."""
        async with self._sessions.begin() as session:
            return await move_run(
                session,
                run.id,
                RunState.FINISHED,
                epoch=lease.epoch,
                cause=why,
                changes={"verdict": Verdict.ERRORED},
                payload={"needs_human": True},
            )

    async def _ended(
        self, run: Run, lease: Lease, end: StageEnd, how: SessionEnd, left: Left
    ) -> Run:
        """The row, the run's end, and what follows from it, in one transaction."""
        took = end.ended_at - end.started_at
        async with self._sessions.begin() as session:
            await lease.check(session)
            own = await session.get_one(AgentSession, run.id)
            own.patch_sha256, own.head_tree = left.patch_sha256, left.head_tree
            own.refused, own.document_sha256 = list(left.refused), left.document_sha256
            own.execution_time_ms = max(0, round(took.total_seconds() * 1000))
            own.status = _STATUS.get(how.end)
            await session.flush()
            if how.end is End.CANCELLED:
                return await cancel_run(session, run, epoch=lease.epoch)
            if how.end is End.LOST:
                return await lose(session, run, epoch=lease.epoch, cause=how.cause)
            if how.end is End.FAILURE:
                return await _failed(session, run, lease, how.cause + left.kept)
            return await _finished(session, run, lease, own)


async def _failed(session: AsyncSession, run: Run, lease: Lease, why: str) -> Run:
    """A rejection that needs no judge."""
    moved = await move_run(
        session,
        run.id,
        RunState.FINISHED,
        epoch=lease.epoch,
        cause=why,
        changes={"verdict": Verdict.FAILED},
    )
    if run.task_id is not None:
        await apply_effect(
            session, run.task_id, effect_of(Verdict.FAILED, last=True), cause=moved.cause
        )
    return moved


async def _finished(session: AsyncSession, run: Run, lease: Lease, own: AgentSession) -> Run:
    """A patch is queued to be judged; a document goes to whoever has asked for it."""
    moved = await move_run(
        session,
        run.id,
        RunState.FINISHED,
        epoch=lease.epoch,
        payload={"patch": own.patch_sha256, "document": own.document_sha256},
    )
    if own.patch_sha256 is not None and run.task_id is not None:
        task = await session.get_one(Task, run.task_id)
        await queue_judgement(
            session,
            task_id=run.task_id,
            repo_id=run.repo_id,
            base_commit=run.base_commit,
            deadline_s=run.deadline_s,
            policy=task.policy or {},
            patch_sha256=own.patch_sha256,
            session_id=run.id,
            head_tree=own.head_tree,
            refused=own.refused,
        )
    return moved


def _unless(how: SessionEnd, failure: str) -> SessionEnd:
    """A failure of the product, unless the session has ended badly already."""
    return SessionEnd(End.FAILURE, failure) if how.end is End.SUCCESS else how


def told_refusals(entries: Sequence[RefusedEntry]) -> tuple[str, ...]:
    """Refused entries as the row and the report name them; an agent can make any number."""
    named = tuple(
        f"{os.fsdecode(one.path) or 'the change'}: {one.reason}"[:1000]
        for one in entries[:MAX_REFUSED]
    )
    more = len(entries) - len(named)
    return (*named, *((f"the change: {more} more entries cannot be taken",) if more else ()))

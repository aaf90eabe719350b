"""Finding the report of a run or a task."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.blobs.ports import Blobs
from control_plane.db.finding import NotFound
from control_plane.judgements.models import Judgement
from control_plane.judgements.policies import policy_from_json
from control_plane.runs.models import Run
from control_plane.runs.rules import RunKind
from control_plane.runs.service import find_run
from control_plane.sessions.models import AgentSession
from control_plane.tasks.models import Task
from control_plane.tasks.service import find_task
from quality_gates.model import TaskReport, Verdict

REPORT_BYTES = 128 * 2**20
_REPORT = TypeAdapter(TaskReport)


@dataclass(frozen=True, slots=True)
class Found:
    """A report: a blob, or (of a session that ended without a judge) made of its row."""

    sha256: str | None
    page: TaskReport | None = None


async def report_of_run(session: AsyncSession, run_id: UUID) -> Found:
    """The report of a run.

    Raises NotFound, also for a run that ended without one.
    """
    run = await find_run(session, run_id)
    found = await _report_of(session, run)
    if found is None:
        raise NotFound("report of run", f"{run_id} ({await _why_none(session, run)})")
    return found


async def report_of_task(session: AsyncSession, which: str) -> Found:
    """The newest report of the task. Raises NotFound."""
    task = await find_task(session, which)
    runs = select(Run).where(Run.task_id == task.id).order_by(Run.id.desc())
    for run in (await session.scalars(runs)).all():
        found = await _report_of(session, run)
        if found is not None:
            return found
    raise NotFound("report of task", f"{task.key} ({task.status.value})")


async def _report_of(session: AsyncSession, run: Run) -> Found | None:
    if run.kind is RunKind.JUDGE:
        judgement = await session.get_one(Judgement, run.id)
        return Found(judgement.report_sha256) if judgement.report_sha256 else None
    if run.kind is RunKind.SESSION and run.verdict is not None and run.task_id is not None:
        own = await session.get_one(AgentSession, run.id)
        task = await session.get_one(Task, run.task_id)
        return Found(None, session_page(run, own.patch_sha256, task.policy or {}))
    return None


async def _why_none(session: AsyncSession, run: Run) -> str:
    judged = select(Judgement.run_id).where(Judgement.session_id == run.id)
    newest = await session.scalar(judged.order_by(Judgement.run_id.desc()).limit(1))
    if newest is not None:
        return f"a session; its patch is judged in run {newest}"
    return f"{run.state.value}{': ' + run.cause if run.cause else ''}"


def session_page(run: Run, patch_sha256: str | None, policy: Mapping[str, Any]) -> TaskReport:
    """What is told of a session that left nothing to judge: its verdict, and why."""
    return TaskReport(
        verdict=run.verdict or Verdict.ERRORED,
        gates=(),
        base_commit=run.base_commit,
        patch_sha256=patch_sha256 or "",
        image="",
        environment_sha256="",
        policy=policy_from_json(policy),
        notes=(run.cause,),
    )


async def read_report(blobs: Blobs, sha256: str) -> dict[str, Any]:
    """The report as it was written, checked against its hash. Raises BlobMissing."""
    document: dict[str, Any] = json.loads(await blobs.read(sha256, REPORT_BYTES))
    return document


def report_of(document: Mapping[str, Any]) -> TaskReport:
    """The report that `quality_gates.report.to_json` wrote down."""
    gates = [
        gate if gate["applicable"] else {**gate, "verdict": Verdict.PASSED}
        for gate in document["gates"]
    ]
    known = {name: value for name, value in document.items() if name != "format"}
    return _REPORT.validate_json(json.dumps({**known, "gates": gates}))

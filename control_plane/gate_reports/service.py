"""Finding the report of a run or a task."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.blobs.ports import Blobs
from control_plane.runs.errors import NotFound
from control_plane.runs.models import Run
from control_plane.runs.service import find_run
from control_plane.tasks.service import find_task
from quality_gates.model import TaskReport, Verdict

REPORT_BYTES = 128 * 2**20
_REPORT = TypeAdapter(TaskReport)


async def report_sha256_of_run(session: AsyncSession, run_id: UUID) -> str:
    """The blob that holds the run's report.

    Raises NotFound, also for a run that ended without one.
    """
    run = await find_run(session, run_id)
    if run.report_sha256 is None:
        raise NotFound(
            "report of run", f"{run_id} ({run.state.value}{': ' + run.cause if run.cause else ''})"
        )
    return run.report_sha256


async def report_sha256_of_task(session: AsyncSession, which: str) -> str:
    """The blob that holds the newest report of the task. Raises NotFound."""
    task = await find_task(session, which)
    found = await session.scalar(
        select(Run.report_sha256)
        .where(Run.task_id == task.id, Run.report_sha256.is_not(None))
        .order_by(Run.id.desc())
        .limit(1)
    )
    if found is None:
        raise NotFound("report of task", f"{task.key} ({task.status.value})")
    return found


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

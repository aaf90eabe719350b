"""A report becomes part of the task: blob first, then rows and both moves in one transaction."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.db.storable import storable_facts, storable_text
from control_plane.gate_reports.models import FindingRow, GateReportRow
from control_plane.judgements.models import Judgement
from control_plane.judgements.service import was_held_against_its_author
from control_plane.orchestrator.lease import Lease
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run, update_run
from control_plane.runs.rules import RunState
from control_plane.tasks.moves import apply_effect
from control_plane.tasks.rules import VerdictEffect, effect_of
from quality_gates.model import Finding, GateReport, TaskReport
from quality_gates.report import to_json


class VerdictRecorder:
    """Keeps what the judge decided.

    A patch that could not be decided is judged again at most `judge_again` times.
    """

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], blobs: Blobs, judge_again: int
    ) -> None:
        self._sessions, self._blobs, self._judge_again = sessions, blobs, judge_again

    async def record(
        self,
        run: Run,
        lease: Lease,
        report: TaskReport,
        *,
        cause: str = "",
        environment_id: UUID | None = None,
        final: bool = False,
    ) -> Run:
        """Keep the report; end the run with its verdict, or (unless `final`) judge it again."""
        document = storable_facts(to_json(report))
        text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        artifact = await self._blobs.put(text)
        async with self._sessions.begin() as session:
            await lease.check(session)
            judgement = await session.get_one(Judgement, run.id)
            judgement.report_sha256 = artifact.sha256
            judgement.environment_id = environment_id
            rows = [
                _row(run, judgement.attempt, gate, told)
                for gate, told in zip(report.gates, document["gates"], strict=True)
            ]
            session.add_all(rows)
            await (
                session.flush()
            )  # findings name their report, and the ORM knows no order between the two
            session.add_all(
                _finding(row, one)
                for row, gate in zip(rows, report.gates, strict=True)
                for one in gate.findings
            )
            effect = effect_of(report.verdict, last=final or judgement.attempt >= self._judge_again)
            if effect.judge_again:
                return await _again(session, judgement, lease, report)
            return await _ended(session, run, judgement, lease, report, effect, cause)


async def _again(
    session: AsyncSession, judgement: Judgement, lease: Lease, report: TaskReport
) -> Run:
    judgement.attempt += 1
    return await update_run(
        session,
        judgement.run_id,
        epoch=lease.epoch,
        changes={"waiting_for": None},  # a cause that can change may lie in the shared run, too
        event="judged.again",
        payload={
            "verdict": report.verdict.value,
            "attempt": judgement.attempt,
            "reasons": reasons(report),
        },
    )


async def _ended(
    session: AsyncSession,
    run: Run,
    judgement: Judgement,
    lease: Lease,
    report: TaskReport,
    effect: VerdictEffect,
    cause: str,
) -> Run:
    moved = await move_run(
        session,
        run.id,
        RunState.FINISHED,
        epoch=lease.epoch,
        cause=(cause or "; ".join(reasons(report)))[:2000],
        changes={"verdict": report.verdict},
        payload={"report": judgement.report_sha256, "needs_human": effect.needs_human},
    )
    if run.task_id is not None:
        if await was_held_against_its_author(session, run, judgement.patch_sha256):
            effect = replace(effect, counts_as_retry=False)
        await apply_effect(session, run.task_id, effect, cause=moved.cause)
    return moved


def reasons(report: TaskReport) -> list[str]:
    """Why the verdict is what it is: the reasons of the gates that are as bad as it."""
    return [
        f"{gate.gate}: {reason}"
        for gate in report.gates
        if gate.applicable and gate.verdict is report.verdict
        for reason in gate.reasons
    ] or list(report.notes)


def _row(run: Run, attempt: int, gate: GateReport, told: dict[str, Any]) -> GateReportRow:
    return GateReportRow(
        id=new_id(),
        run_id=run.id,
        task_id=run.task_id,
        attempt=attempt,
        gate=gate.gate,
        verdict=gate.verdict,
        applicable=gate.applicable,
        reasons=told["reasons"],
        report=told,
    )


def _finding(row: GateReportRow, one: Finding) -> FindingRow:
    return FindingRow(
        id=new_id(),
        gate_report_id=row.id,
        rule=storable_text(one.rule),
        severity=one.severity,
        path=storable_text(one.path),
        line=one.line,
        message=storable_text(one.message),
        fingerprint=one.fingerprint,
        new=one.new,
        blocks=one.blocks,
        suppressed=one.suppressed,
        cwe=one.cwe,
    )

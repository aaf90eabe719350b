"""A report becomes part of the task: blob first, then rows, the run's move and the task's move in one transaction."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.blobs.ports import Blobs
from control_plane.db.base import new_id
from control_plane.db.storable import storable_facts, storable_text
from control_plane.gate_reports.models import FindingRow, GateReportRow
from control_plane.orchestrator.lease import Lease
from control_plane.runs.models import Run
from control_plane.runs.moves import move_run, update_run
from control_plane.runs.rules import RunState
from control_plane.tasks.moves import apply_effect
from control_plane.tasks.rules import VerdictEffect, effect_of
from quality_gates.model import Finding, GateReport, TaskReport
from quality_gates.report import to_json


class Verdicts:
    """Records what the judge decided.

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
        changes: Mapping[str, Any] | None = None,
        final: bool = False,
    ) -> Run:
        """Keep the report, and end the run with its verdict, or (unless `final`) have the same patch judged again."""
        document = storable_facts(to_json(report))
        text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        artifact = await self._blobs.put(text)
        effect = effect_of(report.verdict, last=final or run.judge_attempt >= self._judge_again)
        kept = {
            **(changes or {}),
            "report_sha256": artifact.sha256,
            "environment_id": environment_id,
        }
        async with self._sessions.begin() as session:
            await lease.check(session)
            rows = [
                _row(run, gate, told)
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
            if effect.judge_again:
                return await self._again(session, run, lease, report, kept)
            return await self._ended(session, run, lease, report, effect, cause, kept)

    async def _again(
        self,
        session: AsyncSession,
        run: Run,
        lease: Lease,
        report: TaskReport,
        kept: dict[str, Any],
    ) -> Run:
        return await update_run(
            session,
            run.id,
            epoch=lease.epoch,
            changes={**kept, "judge_attempt": run.judge_attempt + 1},
            event="judged.again",
            payload={
                "verdict": report.verdict.value,
                "attempt": run.judge_attempt + 1,
                "reasons": reasons(report),
            },
        )

    async def _ended(
        self,
        session: AsyncSession,
        run: Run,
        lease: Lease,
        report: TaskReport,
        effect: VerdictEffect,
        cause: str,
        kept: dict[str, Any],
    ) -> Run:
        moved = await move_run(
            session,
            run.id,
            RunState.FINISHED,
            epoch=lease.epoch,
            cause=(cause or "; ".join(reasons(report)))[:2000],
            changes={**kept, "verdict": report.verdict},
            payload={"report": kept["report_sha256"], "needs_human": effect.needs_human},
        )
        if run.task_id is not None:
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


def _row(run: Run, gate: GateReport, told: dict[str, Any]) -> GateReportRow:
    return GateReportRow(
        id=new_id(),
        run_id=run.id,
        task_id=run.task_id,
        judge_attempt=run.judge_attempt,
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

"""What a report has to say of a change, remark by remark: what every format for a CI is made of."""

import re
from dataclasses import dataclass
from enum import StrEnum

from quality_gates.model import GateReport, Severity, TaskReport, Verdict

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


class Level(StrEnum):
    """How much a remark counts; named as SARIF names them."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know. Without a path it is of the whole change."""

    gate: str
    rule: str
    """Of the scanner; of a gate that runs none, its verdict."""
    level: Level
    message: str
    severity: Severity | None = None
    path: str | None = None
    line: int | None = None
    fingerprint: str = ""


def remarks(report: TaskReport) -> list[Remark]:
    """What decides first, gate by gate; then what is shown. What base has already is left out."""
    found = [remark for gate in report.gates for remark in _of_gate(gate)]
    if report.base_trouble:
        trouble = f"base could not be tested: {plain(report.base_trouble)}"
        found.insert(0, Remark("tests", "base", Level.WARNING, trouble))
    if report.verdict is not Verdict.PASSED and not found:
        why = plain("; ".join(report.notes)) or "the report says no more"
        found.append(Remark("vsc", str(report.verdict), Level.ERROR, why))
    return sorted(found, key=lambda remark: list(Level).index(remark.level))


def plain(text: str) -> str:
    """One line without anything that a terminal, a page or a log would act on."""
    return _CONTROL.sub(" ", text).encode("utf-8", "backslashreplace").decode().strip()


def _of_gate(gate: GateReport) -> list[Remark]:
    if not gate.applicable:
        return []
    findings = [
        Remark(
            gate.gate,
            plain(one.rule),
            Level.ERROR if one.blocks else Level.NOTE,
            plain(one.message),
            one.severity,
            plain(one.path),
            max(1, one.line),
            one.fingerprint,
        )
        for one in gate.findings
        if one.new
    ]
    level = Level.ERROR if gate.verdict in _AUTHORS else Level.WARNING
    told = {f"{one.path}:{one.line}: {one.rule} " for one in findings if one.level is Level.ERROR}
    reasons = [
        Remark(gate.gate, str(gate.verdict), level, plain(reason))
        for reason in gate.reasons
        if gate.verdict is not Verdict.PASSED and not plain(reason).startswith(tuple(told) or "\n")
    ]
    return reasons + findings


_AUTHORS = frozenset({Verdict.FAILED, Verdict.TAMPERED})
"""Verdicts that are about the change; the others are about what could not be found out."""

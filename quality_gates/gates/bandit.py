"""`bandit`: no new finding at or above the severity that the task's security level names."""

from quality_gates.findings import compare
from quality_gates.gates.case import Case
from quality_gates.gates.scanning import (
    Scanner,
    Unusable,
    blocking,
    broken_files,
    completeness,
    not_applicable,
    report,
    scanned,
    verdict_of,
)
from quality_gates.model import GateReport
from quality_gates.parsers import bandit
from quality_gates.parsers.scans import Hit
from quality_gates.paths import is_test_path
from quality_gates.selection import changed_python

GATE = "bandit"
SCANNER = Scanner("bandit", bandit.parse)
_ASSERT = "B101"


def judge(case: Case) -> GateReport:
    """An `assert` in a test is what tests are made of; everything else counts everywhere."""
    changed = changed_python(case.change)
    if not changed:
        return not_applicable(GATE, "the change leaves no Python file to scan")
    try:
        found = scanned(case, SCANNER)
    except Unusable as problem:
        return report(case, GATE, SCANNER, problem.verdict, (problem.reason,))
    block = blocking(case.policy.security_level)
    findings = compare(case.change, filter(_counts, found.head), found.base, blocks=block)
    verdict, reasons = verdict_of(findings, completeness(found, changed, broken_files(case)))
    evidence: dict[str, object] = {
        "expected": list(changed),
        "scanned": sorted(found.covered or ())[:5000],
    }
    return report(case, GATE, SCANNER, verdict, reasons, findings=findings, evidence=evidence)


def _counts(hit: Hit) -> bool:
    return not (hit.rule == _ASSERT and is_test_path(hit.path))

"""`lint`: no new finding of ruff under the rules that the task names.

Inline disables are not honoured.
"""

from quality_gates.findings import compare
from quality_gates.gates.case import Case
from quality_gates.gates.scanning import (
    Scanner,
    Unusable,
    completeness,
    not_applicable,
    report,
    scanned,
    verdict_of,
)
from quality_gates.linting import linting_rules
from quality_gates.model import GateReport
from quality_gates.parsers import ruff
from quality_gates.selection import changed_python

GATE = "lint"
SCANNER = Scanner("ruff", ruff.parse)


def judge(case: Case) -> GateReport:
    """New findings block, whatever their kind."""
    changed = changed_python(case.change)
    if not changed:
        return not_applicable(GATE, "the change leaves no Python file to lint")
    try:
        found = scanned(case, SCANNER)
    except Unusable as problem:
        return report(case, GATE, SCANNER, problem.verdict, (problem.reason,))
    findings = compare(case.change, found.head, found.base, blocks=lambda _: True, by_message=True)
    verdict, reasons = verdict_of(findings, completeness(found, changed, frozenset()))
    rules = linting_rules(case.policy.linting_rules)
    evidence: dict[str, object] = {
        "rules": list(rules) or "ruff's own defaults",
        "expected": list(changed),
    }
    return report(case, GATE, SCANNER, verdict, reasons, findings=findings, evidence=evidence)

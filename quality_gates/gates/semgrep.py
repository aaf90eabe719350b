"""`semgrep`: our own offline rules.

No new finding at or above the severity that the task's security level names.
"""

from quality_gates import trusted
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
from quality_gates.parsers import semgrep
from quality_gates.selection import changed_python

GATE = "semgrep"
SCANNER = Scanner("semgrep", semgrep.parse)


def judge(case: Case) -> GateReport:
    """Any warning about a changed file counts: a region that was not parsed was not searched."""
    changed = changed_python(case.change)
    if not changed:
        return not_applicable(GATE, "the change leaves no Python file to scan")
    try:
        found = scanned(case, SCANNER)
    except Unusable as problem:
        return report(case, GATE, SCANNER, problem.verdict, (problem.reason,))
    findings = compare(
        case.change, found.head, found.base, blocks=blocking(case.policy.security_level)
    )
    verdict, reasons = verdict_of(findings, completeness(found, changed, broken_files(case)))
    evidence: dict[str, object] = {
        "expected": list(changed),
        "scanned": sorted(found.covered or ())[:5000],
        "rule_pack_sha256": trusted.rule_pack_sha256(),
    }
    return report(
        case,
        GATE,
        SCANNER,
        verdict,
        reasons,
        findings=findings,
        evidence=evidence,
        version=found.version,
    )

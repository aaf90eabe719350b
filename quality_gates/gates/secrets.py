"""`secrets`: nothing that looks like a secret is new, whether a comment allows it or not."""

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
from quality_gates.model import GateReport
from quality_gates.parsers import secrets
from quality_gates.selection import changed_texts

GATE = "secrets"
SCANNER = Scanner("secrets", secrets.parse)


def judge(case: Case) -> GateReport:
    """Every changed file was searched, and what was found is base's."""
    changed = changed_texts(case.change)
    if not changed:
        return not_applicable(GATE, "the change leaves no file to search")
    try:
        found = scanned(case, SCANNER)
    except Unusable as problem:
        return report(case, GATE, SCANNER, problem.verdict, (problem.reason,))
    findings = compare(case.change, found.head, found.base, blocks=lambda _: True)
    verdict, reasons = verdict_of(findings, completeness(found, changed, frozenset()))
    evidence: dict[str, object] = {
        "expected": list(changed),
        "allow_listed": sum(hit.allowed for hit in found.head),
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

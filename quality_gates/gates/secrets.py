"""`secrets`: nothing that looks like a secret is new, whether a comment allows it or not."""

from dataclasses import replace

from quality_gates.changes import changed_texts
from quality_gates.findings import compare
from quality_gates.gates.case import Case
from quality_gates.gates.scanning import Scanner, Unusable, completeness, not_applicable, report, scanned, verdict_of
from quality_gates.model import GateReport
from quality_gates.parsers import secrets
from quality_gates.parsers.scans import Hit, Scan
from quality_gates.paths import in_workspace
from quality_gates.staticplan import SECRETS, SECRETS_ALLOWED

GATE = "secrets"


def judge(case: Case) -> GateReport:
    """Two searches: what the tool reports, and what comments in the tree tell it to hide."""
    changed = changed_texts(case.change)
    if not changed:
        return not_applicable(GATE, "the change leaves no file to search")
    try:
        open_ = scanned(case, SCANNER)
        allowed = scanned(case, ALLOWED)
    except Unusable as problem:
        return report(case, GATE, SCANNER, problem.verdict, (problem.reason,))
    hidden = {(hit.path, hit.rule, hit.line) for hit in allowed.head}
    findings = compare(case.change, (*open_.head, *allowed.head), (*open_.base, *allowed.base), blocks=_always)
    marked = tuple(replace(f, suppressed=(f.path, f.rule, f.line) in hidden) for f in findings)
    complaints = completeness(open_, changed, frozenset()) + completeness(allowed, changed, frozenset())
    verdict, reasons = verdict_of(marked, complaints)
    evidence: dict[str, object] = {"expected": list(changed), "allow_listed": len(hidden)}
    return report(case, GATE, SCANNER, verdict, reasons, findings=marked, evidence=evidence, version=open_.version)


def _parse(content: bytes) -> Scan:
    """The tool names files relative to its working directory, the workspace."""
    scan = secrets.parse(content)
    return replace(scan, hits=tuple(replace(hit, path=in_workspace(hit.path)) for hit in scan.hits))


def _always(_: Hit) -> bool:
    return True


SCANNER = Scanner("secrets", SECRETS, _parse)
ALLOWED = Scanner("secrets-allowed", SECRETS_ALLOWED, _parse)

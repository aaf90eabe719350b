"""What the gates around a scanner share.

Whether it really ran, over all it had to, and what is new in what it says.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from quality_gates.findings import compare
from quality_gates.gates.case import Case, some, worst
from quality_gates.linting import PROJECT
from quality_gates.model import (
    Change,
    Finding,
    GateReport,
    SecurityLevel,
    Severity,
    Stage,
    StageEvidence,
    ToolEvidence,
    Verdict,
)
from quality_gates.parsers import bandit, ruff, secrets
from quality_gates.parsers.reading import ParseError, read
from quality_gates.parsers.scans import Hit, Scan
from quality_gates.paths import of_workspace
from quality_gates.selection import aliases
from quality_gates.staticplan import RUFF_HONOURING, output_of, runs_of
from quality_gates.suppressions import rules_of
from quality_gates.test_only import only_of_tests
from quality_gates.testrun import stage_problem

Blocks = Callable[[Case], Callable[[Hit], bool]]
"""Of a case, which new hits are a refusal. Raises Unusable."""
_ORDER = list(Severity)
_LOWEST_BLOCKING = {
    SecurityLevel.LOW: Severity.HIGH,
    SecurityLevel.MEDIUM: Severity.MEDIUM,
    SecurityLevel.HIGH: Severity.LOW,
    SecurityLevel.CRITICAL: Severity.LOW,
}

_INHERITED = re.compile(r"\s*secrets:\s*inherit\s*(#.*)?")
"""A workflow of GitHub hands its secrets on, and names none."""
_RANDOM = re.compile(r"[0-9A-Za-z+/_=-]{20,}")
_DIGEST = re.compile(
    r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}"
)
_NEWER_BUILTIN = re.compile(
    r"^Undefined name `(ExceptionGroup|BaseExceptionGroup|EncodingWarning|PythonFinalizationError"
    r"|aiter|anext)`"
)
"""Known to Pythons newer than the oldest that the project admits: behind a check of the version.

ruff knows no such check. Where it lacks, the tests meet a NameError.
"""


@dataclass(frozen=True, slots=True)
class Scanner:
    """One tool in the static stages."""

    tool: str
    parse: Callable[[bytes], Scan]


@dataclass(frozen=True, slots=True)
class ScannerGate:
    """A gate around a scanner: what it looks at, what counts, what blocks, what it tells."""

    gate: str
    scanner: Scanner
    looks_at: Callable[[Change], Collection[str]]
    otherwise: str
    """Why it is left out where it has nothing to look at."""
    evidence: Callable[[Case, "Scanned"], dict[str, object]]
    counts: Callable[[Hit], bool] = lambda _: True
    blocks: Blocks = lambda _: lambda _: True
    broken: Callable[[Case], frozenset[str]] = lambda _: frozenset()
    """Files that no parser takes: not to have read them is the change's fault."""
    by_message: bool = False
    """Whether two findings of a rule are told apart by their texts."""

    def judge(self, case: Case) -> GateReport:
        """Everything was looked at, and what was found is base's."""
        changed = self.looks_at(case.change)
        if not changed:
            return GateReport(self.gate, Verdict.PASSED, (self.otherwise,), applicable=False)
        try:
            found, blocks = _scanned(case, self.scanner), self.blocks(case)
        except Unusable as problem:
            return _report(case, self, problem.verdict, (problem.reason,))
        findings = compare(
            case.change,
            filter(self.counts, found.head),
            found.base,
            blocks=blocks,
            by_message=self.by_message,
        )
        complaints = _completeness(found, changed, self.broken(case))
        verdict, reasons = _verdict_of(findings, complaints)
        evidence = {"expected": list(changed), **self.evidence(case, found)}
        return _report(case, self, verdict, reasons, findings, evidence, found.version)


class Unusable(Exception):
    """The tool's work cannot be used; with the verdict that follows."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict, self.reason = verdict, reason


@dataclass(frozen=True, slots=True)
class Scanned:
    """A tool's two outputs, in repository paths."""

    head: tuple[Hit, ...]
    base: tuple[Hit, ...]
    covered: frozenset[str] | None
    errors: tuple[tuple[str, str], ...]
    version: str | None


def by_security_level(*, in_tests: Collection[str] = ()) -> Blocks:
    """Which hits block when they are new: from the severity on that the task's level names.

    In what is of the tests alone, only those of the rules `in_tests`.
    """

    def of_case(case: Case) -> Callable[[Hit], bool]:
        lowest = _ORDER.index(_LOWEST_BLOCKING[case.policy.security_level])
        is_test = only_of_tests(case.change)
        return lambda hit: (
            _ORDER.index(hit.severity) >= lowest and (hit.rule in in_tests or not is_test(hit.path))
        )

    return of_case


def live_secrets(case: Case) -> Callable[[Hit], bool]:
    """Which secrets block: all, but for digests, and made-up ones in what is of the tests alone.

    There, those in a provider's own form, and those that are called a secret and look random. A
    digest is a hexadecimal number of a digest's length (a commit, a pinned file) that nothing
    calls a secret.
    """
    is_test = only_of_tests(case.change)
    by_kind: dict[str, set[tuple[str, int, str | None]]] = {}
    for hit in _scanned(case, Scanner("secrets", secrets.parse)).head:
        by_kind.setdefault(hit.rule, set()).add((hit.path, hit.line, hit.secret))
    called = by_kind.get(secrets.CALLED, set())

    def blocks(hit: Hit) -> bool:
        if hit.rule == secrets.CALLED and _INHERITED.fullmatch(_line(case, hit.path, hit.line)):
            return False
        if hit.rule in secrets.RANDOM or hit.rule == secrets.CALLED:
            place = (hit.path, hit.line, hit.secret)
            if place not in called and _is_digest(_line(case, hit.path, hit.line)):
                return False
            live = place in called and any(place in by_kind.get(one, ()) for one in secrets.RANDOM)
            return live or not is_test(hit.path)
        return hit.rule not in secrets.ORDINARY or not is_test(hit.path)

    return blocks


def _scanned(case: Case, scanner: Scanner) -> Scanned:
    """Both outputs. Raises Unusable."""
    head = _scan(case, Stage.STATIC, scanner)
    base = _scan(case, Stage.BASE_STATIC, scanner) if _base_has_files(case) else Scan(())
    names = {alias.location: (alias.path, alias.side) for alias in aliases(case.change)}

    def located(hits: Iterable[Hit], side: str) -> tuple[Hit, ...]:
        found = []
        for hit in hits:
            path, of = names.get(hit.path, (of_workspace(hit.path), "head"))
            if path is not None and of == side:
                found.append(replace(hit, path=path))
        return tuple(found)

    def path_of(name: str) -> str:
        return (
            names[name][0]
            if name in names and names[name][1] == "head"
            else of_workspace(name) or ""
        )

    return Scanned(
        head=located(head.hits, "head"),
        base=(*located(head.hits, "base"), *located(base.hits, "head")),
        covered=None if head.scanned is None else frozenset(map(path_of, head.scanned)),
        errors=tuple(
            (path_of(path), message)
            for path, message in head.errors
            if names.get(path, ("", "head"))[1] == "head"
        ),
        version=head.version,
    )


def kept_by_base(case: Case) -> Callable[[Hit], bool]:
    """Which hits of ruff break a rule that base keeps to, in a line that does not say it must.

    Only where nobody has named rules: those of a packet are kept to everywhere, `noqa` or not.
    """
    if case.policy.linting_rules != PROJECT:
        return lambda _: True
    honouring = Scanner(RUFF_HONOURING, ruff.parse)
    base = _scan(case, Stage.BASE_STATIC, honouring) if _base_has_files(case) else Scan(())
    broken = {hit.rule for hit in base.hits}

    def blocks(hit: Hit) -> bool:
        if hit.rule == ruff.SYNTAX or hit.rule.startswith("E9"):
            return True
        return (
            hit.rule not in broken
            and hit.rule not in rules_of(_marked(case, hit))
            and not _NEWER_BUILTIN.search(hit.message)
        )

    return blocks


def _marked(case: Case, hit: Hit) -> str:
    """The line whose comment may speak of the hit."""
    return _line(case, hit.path, hit.mark_line or 0)


def _line(case: Case, path: str, number: int) -> str:
    lines = case.change.head_contents.get(path, b"").split(b"\n")
    return lines[number - 1].decode("utf-8", "replace") if 0 < number <= len(lines) else ""


def _is_digest(line: str) -> bool:
    """Whether all that looks random in the line is as long as MD5, SHA-1 or one of SHA-2."""
    found = _RANDOM.findall(line)
    return bool(found) and all(_DIGEST.fullmatch(one) for one in found)


def broken_files(case: Case) -> frozenset[str]:
    """Changed files that are no Python, to two parsers; empty where either's word is missing."""
    try:
        hits = _scanned(case, Scanner("ruff", ruff.parse)).head
        unread = _scanned(case, Scanner("bandit", bandit.parse)).errors
    except Unusable:
        return frozenset()
    return frozenset(hit.path for hit in hits if hit.rule == ruff.SYNTAX) & {
        path for path, _ in unread
    }


def _completeness(
    found: Scanned, expected: Iterable[str], broken: frozenset[str]
) -> list[tuple[Verdict, str]]:
    """Complaints about what the tool did not read.

    A file that no parser takes is the change's fault; one that only this tool cannot read leaves
    the question open.
    """
    complaints = []
    for path, message in found.errors:
        verdict = Verdict.FAILED if path and path in broken else Verdict.INCONCLUSIVE
        complaints.append((verdict, f"{path or 'the tool'}: {' '.join(message.split())[:300]}"))
    if found.covered is not None:
        unread = sorted(set(expected) - found.covered - {path for path, _ in found.errors})
        if unread:
            complaints.append(
                (Verdict.INCONCLUSIVE, f"changed files that were not scanned: {some(unread)}")
            )
    return complaints


def _verdict_of(
    findings: Iterable[Finding], complaints: list[tuple[Verdict, str]]
) -> tuple[Verdict, tuple[str, ...]]:
    """The worst of what was found and what was not read, with its reasons."""
    bad = [finding for finding in findings if finding.blocks]
    reasons = [reason for _, reason in complaints]
    reasons += [
        f"{f.path}:{f.line}: {f.rule} ({f.severity}): {' '.join(f.message.split())[:200]}"
        for f in bad[:50]
    ]
    reasons += [f"and {len(bad) - 50} more"] if len(bad) > 50 else []
    return worst(
        *(verdict for verdict, _ in complaints), *([Verdict.FAILED] if bad else [])
    ), tuple(reasons)


def _report(
    case: Case,
    of: ScannerGate,
    verdict: Verdict,
    reasons: tuple[str, ...],
    findings: tuple[Finding, ...] = (),
    evidence: Mapping[str, object] = MappingProxyType({}),
    version: str | None = None,
) -> GateReport:
    """A gate's report with the tool's particulars."""
    stage = case.evidence.get(Stage.STATIC)
    tool = stage.tools.get(of.scanner.tool) if stage else None
    counts = {
        "new": sum(finding.new for finding in findings),
        "known": sum(not finding.new for finding in findings),
        "blocking": sum(finding.blocks for finding in findings),
    }
    return GateReport(
        gate=of.gate,
        verdict=verdict,
        reasons=reasons,
        findings=findings,
        evidence={**counts, **evidence},
        tool=of.scanner.tool,
        tool_version=version,
        command=tool.argv if tool else (),
        exit_code=tool.exit_code if tool else None,
        duration_s=tool.duration_s if tool else None,
    )


def _base_has_files(case: Case) -> bool:
    return bool(case.change.base_tree)


def _scan(case: Case, stage: Stage, scanner: Scanner) -> Scan:
    evidence = case.evidence.get(stage)
    problem = stage_problem(stage, evidence)
    if problem is not None or evidence is None:
        raise Unusable(*(problem or (Verdict.ERRORED, f"no evidence of stage {stage}")))
    runs = runs_of(scanner.tool, case.change, stage)
    if not runs and stage is Stage.STATIC:
        raise Unusable(Verdict.ERRORED, f"{stage}: nothing says how {scanner.tool} ended")
    return _joined([_run(stage, scanner, evidence, name) for name in runs])


def _run(stage: Stage, scanner: Scanner, evidence: StageEvidence, name: str) -> Scan:
    """What one run of the tool, over its share of the files, has said."""
    if name not in evidence.tools:
        raise Unusable(Verdict.ERRORED, f"{stage}: nothing says how {name} ended")
    _ended_well(stage, name, evidence.tools[name])
    try:
        return scanner.parse(read(evidence.outputs.get(output_of(name))))
    except ParseError as error:
        raise Unusable(Verdict.ERRORED, f"{stage}: {name}'s report cannot be read: {error}") from (
            error
        )


def _joined(scans: Sequence[Scan]) -> Scan:
    """Several runs of one tool as one."""
    if not scans:
        return Scan(())
    covered = [scan.scanned for scan in scans if scan.scanned is not None]
    return Scan(
        hits=tuple(hit for scan in scans for hit in scan.hits),
        scanned=frozenset[str]().union(*covered) if len(covered) == len(scans) else None,
        errors=tuple(error for scan in scans for error in scan.errors),
        version=scans[0].version,
    )


def _ended_well(stage: Stage, name: str, tool: ToolEvidence) -> None:
    if tool.timed_out or tool.exit_code is None:
        raise Unusable(
            Verdict.INCONCLUSIVE,
            f"{stage}: {name} did not end by itself ({tool.detail or 'out of time'})",
        )
    if tool.exit_code != 0:
        raise Unusable(
            Verdict.ERRORED,
            f"{stage}: {name} ended with exit code {tool.exit_code} {tool.detail}".rstrip(),
        )
    if tool.truncated:
        raise Unusable(Verdict.INCONCLUSIVE, f"{stage}: the output of {name} was cut")

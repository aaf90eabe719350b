"""`coverage`: the changed lines ran, and so does what base ran and head still has."""

from collections.abc import Mapping
from dataclasses import dataclass

from quality_gates import trusted
from quality_gates.gates.case import Case, some, verdict_of_head
from quality_gates.model import Change, GateReport, Stage, StageEvidence, Verdict
from quality_gates.parsers import coverage
from quality_gates.parsers.coverage import CoverageData, FileCoverage
from quality_gates.parsers.reading import ParseError, read
from quality_gates.paths import of_workspace
from quality_gates.selection import changed_names
from quality_gates.suppressions import EXCLUSION, growth
from quality_gates.surviving_lines import surviving
from quality_gates.testplan import COVERAGE, COVERAGE_HONOURED
from quality_gates.unrunnable_lines import unrunnable

GATE = "coverage"
TOTAL_TOLERANCE = 0.0005
"""The share of base's lines that may run no more, and how far the total may sink with them.

What rounding of a total to a tenth of a percent hides, and no more.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The product's files in one stage."""

    files: dict[str, FileCoverage]
    version: str

    @property
    def executable(self) -> int:
        """Lines that could have run."""
        return sum(len(file.executable) for file in self.files.values())

    @property
    def executed(self) -> int:
        """Lines that ran."""
        return sum(len(file.executed) for file in self.files.values())

    @property
    def ratio(self) -> float | None:
        """None: there is nothing to run."""
        return self.executed / self.executable if self.executable else None


class _Unusable(Exception):
    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict, self.reason = verdict, reason


def judge(case: Case) -> GateReport:
    """Two questions over two measurements."""
    try:
        base, head = _usable(case)
    except _Unusable as problem:
        return _report(case, problem.verdict, [problem.reason], [], {})
    reasons: list[str] = []
    notes: list[str] = []
    changed = _changed_lines(case, head, reasons, notes)
    lost = _lost(case.change, base, head, reasons, notes)
    for kind, (before, after) in growth(case.change, tests=False, kinds=(EXCLUSION,)).items():
        notes.append(
            f"{kind} grew from {before} to {after}: such lines are counted here like all others"
        )
    evidence = {
        "changed_lines": changed,
        "total": {"base": base.ratio, "head": head.ratio, "tolerance": TOTAL_TOLERANCE},
        "lost_lines": {path: lines[:1000] for path, lines in lost.items()},
        "total_with_exclusions": _honoured(case),
        "coverage_minimum": case.policy.coverage_minimum,
        "files": len(head.files),
    }
    return _report(
        case, Verdict.FAILED if reasons else Verdict.PASSED, reasons, notes, evidence, head.version
    )


def _usable(case: Case) -> tuple[Measured, Measured]:
    head = case.runs.head
    if head.verdict is not Verdict.PASSED:
        raise _Unusable(
            verdict_of_head(case.runs),
            "head's test run measures nothing: " + "; ".join(head.reasons),
        )
    base = case.runs.base
    if base.verdict is not Verdict.PASSED:
        broken = base.verdict is Verdict.ERRORED
        raise _Unusable(
            Verdict.ERRORED if broken else Verdict.INCONCLUSIVE,
            "base's test run measures nothing: " + "; ".join(base.reasons),
        )
    product = case.change.head_python.product
    stage = _measuring(case)
    if unknown := case.evidence[stage].altered_unknown:
        raise _Unusable(
            Verdict.INCONCLUSIVE,
            f"whether files of the product changed while the tests ran is not known: {unknown}",
        )
    altered = [path for path in case.evidence[stage].altered if path in product]
    if altered:
        raise _Unusable(
            Verdict.INCONCLUSIVE,
            f"files of the product changed while the tests ran: {some(sorted(altered))}",
        )
    return (
        _measured(case.evidence[Stage.BASE], Stage.BASE, case.change.base_python.product),
        _measured(case.evidence[stage], stage, product),
    )


def _measuring(case: Case) -> Stage:
    """The run of head that shows what its tests reach: one in which none fails by chance."""
    return Stage.HEAD_AGAIN if case.runs.head.flaky else Stage.HEAD


def _measured(evidence: StageEvidence, stage: Stage, product: frozenset[str]) -> Measured:
    tool = evidence.tools.get("coverage")
    if tool is None or tool.exit_code != 0 or tool.timed_out:
        how = "is missing" if tool is None else f"ended with {tool.exit_code} {tool.detail}".strip()
        raise _Unusable(Verdict.INCONCLUSIVE, f"{stage}: the coverage report {how}")
    try:
        data = coverage.parse(read(evidence.outputs.get(COVERAGE)))
    except ParseError as error:
        raise _Unusable(
            Verdict.INCONCLUSIVE, f"{stage}: the coverage report cannot be read: {error}"
        ) from error
    _never_imported(data, stage)
    own = {of_workspace(name): file for name, file in data.files.items()}
    return Measured(
        {path: file for path, file in own.items() if path is not None and path in product},
        data.version,
    )


def _never_imported(data: CoverageData, stage: Stage) -> None:
    never = data.files.get(trusted.NEVER_IMPORTED)
    if never is not None and never.executed:
        verdict = Verdict.TAMPERED if stage is not Stage.BASE else Verdict.INCONCLUSIVE
        raise _Unusable(
            verdict, f"{stage}: a file that nobody imports shows coverage: the figures were forged"
        )
    if never is None or not never.missing:
        raise _Unusable(
            Verdict.INCONCLUSIVE,
            f"{stage}: the file that must stay at 0 % is not in the coverage report",
        )


def _changed_lines(
    case: Case, head: Measured, reasons: list[str], notes: list[str]
) -> dict[str, object]:
    executed = executable = 0
    missed: dict[str, list[int]] = {}
    excused: dict[str, list[int]] = {}
    python = case.environment.python_version
    for path, added in _brought(case.change).items():
        measured = head.files.get(path)
        # A file that coverage could not read has no line that is known to have run.
        can = added & measured.executable if measured else _unmeasured(case, path, added)
        ran = added & measured.executed if measured else set()
        if cannot := (can - ran) & unrunnable(case.change.head_contents.get(path, b""), python):
            can, excused[path] = can - cannot, sorted(cannot)
        executable, executed = executable + len(can), executed + len(ran)
        if can - ran:
            missed[path] = sorted(can - ran)
    if excused:
        notes.append(
            "changed lines that nothing can run here (another version or system, types alone)"
            f" are not asked for: {_listed(excused)}"
        )
    if not executable:
        notes.append(
            "the change has no executable line in the product: "
            "the share of changed lines does not apply"
        )
        return {"executable": 0, "executed": 0, "ratio": None, "missed": {}, "unrunnable": excused}
    ratio = executed / executable
    if ratio < case.policy.coverage_minimum:
        reasons.append(
            f"{executed} of {executable} changed lines ran ({ratio:.1%}), "
            f"{case.policy.coverage_minimum:.1%} asked for: {_listed(missed)}"
        )
    return {
        "executable": executable,
        "executed": executed,
        "ratio": ratio,
        "missed": {p: ls[:1000] for p, ls in missed.items()},
        "unrunnable": {p: ls[:1000] for p, ls in excused.items()},
    }


def _brought(change: Change) -> dict[str, set[int]]:
    """The product's files -> the lines that the patch brings into it.

    All of them where only a link makes the file a module, or git saw no lines.
    """
    known, product = change.base_python.product, change.head_python.product
    files = {file.path: file for file in change.files}
    found: dict[str, set[int]] = {}
    for path in sorted(set(changed_names(change).values()) & product):
        file = files.get(path)
        if path not in known or (file is not None and file.binary):
            lines = change.head_contents.get(path, b"").count(b"\n") + 1
            found[path] = set(range(1, lines + 1))
        elif file is not None:
            found[path] = set(file.added_lines)
    return found


def _unmeasured(case: Case, path: str, added: set[int]) -> set[int]:
    lines = case.change.head_contents.get(path, b"").split(b"\n")
    return {line for line in added if line > len(lines) or lines[line - 1].strip()}


def _lost(
    change: Change, base: Measured, head: Measured, reasons: list[str], notes: list[str]
) -> dict[str, list[int]]:
    """Lines, by their numbers at head, that ran on base, are still there, and run no more.

    They are refused where the total sinks with them: a total alone would blame who takes tested
    code away, and a line alone who makes another way the usual one.
    """
    touched = {file.path: file for file in change.files}
    lost: dict[str, list[int]] = {}
    for path, file in sorted(base.files.items()):
        still = set(surviving(touched.get(path), file.executed).values())
        # A file that coverage could not read has no line that is known to have run.
        if gone := still & head.files[path].missing if path in head.files else still:
            lost[path] = sorted(gone)
    if not lost:
        return lost
    number = sum(map(len, lost.values()))
    unseen = sum(len(lines) for path, lines in lost.items() if path not in head.files)
    before, after = base.ratio or 0.0, head.executed / max(1, head.executable + unseen)
    told = (
        f"{number} lines that the tests run on base, and that head still has, run no more: "
        + _listed(lost)
    )
    if number > TOTAL_TOLERANCE * base.executable and after < before - TOTAL_TOLERANCE:
        reasons.append(f"{told}; the total sinks from {before:.2%} to {after:.2%}")
    else:
        notes.append(told)
    return lost


def _listed(lines: Mapping[str, list[int]]) -> str:
    return some([f"{path}:{','.join(map(str, of[:20]))}" for path, of in sorted(lines.items())], 5)


def _honoured(case: Case) -> float | None:
    """The total as the repository's own comments would have it: shown, never used."""
    try:
        data = coverage.parse(read(case.evidence[_measuring(case)].outputs.get(COVERAGE_HONOURED)))
    except ParseError:
        return None
    own = [
        file
        for name, file in data.files.items()
        if of_workspace(name) in case.change.head_python.product
    ]
    executable = sum(len(file.executable) for file in own)
    return sum(len(file.executed) for file in own) / executable if executable else None


def _report(
    case: Case,
    verdict: Verdict,
    reasons: list[str],
    notes: list[str],
    evidence: dict[str, object],
    version: str | None = None,
) -> GateReport:
    stage = case.evidence.get(Stage.HEAD)
    tool = stage.tools.get("coverage") if stage else None
    return GateReport(
        GATE, verdict, tuple(reasons), evidence=evidence, notes=tuple(notes), tool="coverage",
        tool_version=version,
        command=tool.argv if tool else (), exit_code=tool.exit_code if tool else None,
        duration_s=tool.duration_s if tool else None,
    )  # fmt: skip

"""`tests`: what passes on base passes on head, in its base copy too.

And what is new or edited passes.
"""

import re
from doctest import DocTestParser

from quality_gates.gates.case import Case, some, worst
from quality_gates.model import GateReport, Stage, Verdict
from quality_gates.paths import is_test_path
from quality_gates.selection import (
    changed_conftests,
    changed_tests,
    edited_base_tests,
    new_or_edited_test_modules,
)
from quality_gates.testrun import FIRST, TestRun

GATE = "tests"
MOST_AGAIN = 20
_MISSING = re.compile(
    r"No module named|ModuleNotFoundError|ImportError|Failed to import|not found in `markers`"
    r"|DistributionNotFound|PackageNotFoundError|unrecognized arguments|fixture '.*' not found"
    r"|not natively supported"
)
"""As Python and pytest say that something is not installed."""
_GOOD = "passed"
_PARSER = DocTestParser()


def judge(case: Case) -> GateReport:
    """A run that cannot be believed decides by itself; else every broken promise is a reason."""
    runs = case.runs
    untrusted = _untrusted(case)
    if untrusted:
        return _report(
            case,
            worst(*(verdict for verdict, _ in untrusted)),
            [reason for _, reason in untrusted],
            [],
        )
    reasons: list[str] = []
    notes = _notes(case)
    if not runs.head.outcomes:
        reasons.append("no test was collected on head: zero tests are not a pass")
    _required(case, reasons, notes)
    _doctests(case, reasons)
    _new_or_edited(case, reasons, notes)
    _equal_to_everything(case, reasons, notes)
    return _report(case, Verdict.FAILED if reasons else Verdict.PASSED, reasons, notes)


def again(case: Case) -> tuple[Stage, ...]:
    """What runs once more before it is said that tests fail: few of them, and not seen twice yet.

    Many do not fail by chance.
    """
    runs, wanted = case.runs, []
    modules = set(new_or_edited_test_modules(case.change))
    if runs.base.verdict is not Verdict.PASSED:
        return ()
    for stage, first in FIRST.items():
        run = runs.head if first is Stage.HEAD else _counting_copies(case)
        if run is None or run.verdict is not Verdict.PASSED or stage in case.evidence:
            continue
        failed = runs.base.with_outcome(_GOOD) - run.with_outcome(_GOOD)
        if first is Stage.HEAD:
            broken = run.with_outcome("failed", "error")
            failed |= {nodeid for nodeid in broken if _file(nodeid) in modules}
        if 0 < len(failed) <= MOST_AGAIN:
            wanted.append(stage)
    return tuple(wanted)


def _counting_copies(case: Case) -> TestRun | None:
    """Base's copies, where they decide."""
    return None if case.policy.test_changes_allowed else case.runs.base_copies


def base_trouble(case: Case) -> str:
    """Why base cannot be tested, and what to do; empty: it can."""
    base = case.runs.base
    if base.verdict is Verdict.PASSED:
        return ""
    told = "; ".join(base.reasons)
    unmade = [note for note in case.environment.notes if "could not be" in note]
    if not unmade and not _MISSING.search(told):
        return f"{told}. `vsc logs TASK --stage base` shows all that it said"
    why = "".join(f"; {note}" for note in unmade[:3])
    return (
        f"{told}{why}. What was installed, and why, is in the notes; what is missing is to be named"
        " among the project's own test requirements, on base"
    )


def _untrusted(case: Case) -> list[tuple[Verdict, str]]:
    """Runs whose story does not hold.

    What is wrong with base is never the patch's fault, so it cannot be worse than unclear.
    """
    found: list[tuple[Verdict, str]] = []
    base = case.runs.base
    if base.verdict is not Verdict.PASSED:
        verdict = Verdict.ERRORED if base.verdict is Verdict.ERRORED else Verdict.INCONCLUSIVE
        found += [(verdict, f"base itself cannot be tested: {reason}") for reason in base.reasons]
    for run in filter(None, (case.runs.head, _counting_copies(case))):
        if run.verdict is not Verdict.PASSED:
            found += [(run.verdict, reason) for reason in run.reasons]
        found += _rewritten(case, run)
    return found


def _rewritten(case: Case, run: TestRun) -> list[tuple[Verdict, str]]:
    """Tests that the judged code wrote anew before pytest read them are not those asked for."""
    habit = case.evidence[Stage.BASE].altered if Stage.BASE in case.evidence else ()
    if run.stage not in case.evidence:
        return []
    evidence, reasons = case.evidence[run.stage], []
    if evidence.altered_unknown:
        reasons.append(
            f"{run.stage}: whether tests changed while they ran is not known:"
            f" {evidence.altered_unknown}"
        )
    if found := sorted(filter(is_test_path, set(evidence.altered) - set(habit))):
        reasons.append(f"{run.stage}: tests changed while they ran: {some(found)}")
    return [(Verdict.INCONCLUSIVE, reason) for reason in reasons]


def _required(case: Case, reasons: list[str], notes: list[str]) -> None:
    edited = set(edited_base_tests(case.change))
    if case.policy.test_changes_allowed:  # examples in the product's own files are tests, too
        edited |= {file.path for file in case.change.files if file.base_mode is not None}
    for nodeid in sorted(case.runs.base.with_outcome(_GOOD)):
        in_edited = _file(nodeid) in edited
        now = _outcome(case.runs.head, nodeid)
        if in_edited and case.policy.test_changes_allowed:
            if now not in (_GOOD, "failed", "error"):
                notes.append(f"{nodeid}: passed on base, {now} on head; the patch may edit it")
            elif now != _GOOD:
                reasons.append(
                    _sentence(case.runs.head, nodeid, f"an edited test is {now} on head")
                )
        elif now != _GOOD:
            reasons.append(_sentence(case.runs.head, nodeid, f"passes on base, {now} on head"))
        elif case.runs.base_copies is not None and not case.policy.test_changes_allowed:
            copy = _outcome(case.runs.base_copies, nodeid)
            if copy != _GOOD:
                reasons.append(
                    _sentence(
                        case.runs.base_copies,
                        nodeid,
                        f"passes on base, {copy} as base's copy on head",
                    )
                )


def _doctests(case: Case, reasons: list[str]) -> None:
    """Examples in documentation are tests, and no base copy of them can run on head.

    Those that ran on base stay as they are.
    """
    if case.policy.test_changes_allowed:
        return
    ran = {_file(nodeid) for nodeid in case.runs.base.with_outcome(_GOOD)}
    tests = set(changed_tests(case.change))
    for path in sorted(
        file.path for file in case.change.files if file.path in ran and file.path not in tests
    ):
        kept = _examples(case.change.head_contents.get(path, b""))
        gone = [
            source
            for source, want in _examples(case.change.base_contents.get(path, b""))
            if (source, want) not in kept
        ]
        if gone:
            reasons.append(
                f"{path}: examples that pass on base were edited or removed: {some(gone, 3)}"
            )


def _examples(content: bytes) -> list[tuple[str, str]]:
    """What is typed, and what is expected.

    The whole file is read, so a string's end ends what is expected.
    """
    try:
        found = _PARSER.get_examples(content.decode(errors="replace"))
    except ValueError:  # not as doctest wants it: then it did not run, either
        return []
    return [(one.source.strip(), re.split("\"\"\"|'''", one.want)[0].strip()) for one in found]


def _new_or_edited(case: Case, reasons: list[str], notes: list[str]) -> None:
    """Tests in files that the patch adds or edits and that base did not pass already."""
    modules = set(new_or_edited_test_modules(case.change))
    base = case.runs.base.outcomes
    for nodeid, outcome in sorted(case.runs.head.outcomes.items()):
        if (
            _file(nodeid) not in modules
            or outcome in (_GOOD, "xpassed")
            or base.get(nodeid) == _GOOD
        ):
            continue
        if nodeid in base and base[nodeid] == outcome:
            notes.append(f"{nodeid}: {outcome} on base and on head")
        elif outcome in ("failed", "error") or not case.policy.test_changes_allowed:
            reasons.append(
                _sentence(case.runs.head, nodeid, f"a new or edited test is {outcome} on head")
            )
        else:
            notes.append(f"{nodeid}: a new or edited test is {outcome} on head")
    for where, what in case.runs.head.errors:
        if _file(where) in modules:
            lines = what.strip().splitlines()
            reasons.append(
                f"{where}: cannot be collected on head: {lines[-1][:200] if lines else 'no detail'}"
            )


def _equal_to_everything(case: Case, reasons: list[str], notes: list[str]) -> None:
    """Helpers of the tests whose objects make a comparison mean nothing.

    Those of the product are tampering already.
    """
    changed = set(changed_tests(case.change))
    for path, name in sorted(case.runs.head.equals - case.runs.base.equals):
        if path in changed:
            told = notes if case.policy.test_changes_allowed else reasons
            told.append(f"{path}: objects of {name} equal everything they are compared with")


def _notes(case: Case) -> list[str]:
    base, head = case.runs.base, case.runs.head
    broken = base.with_outcome("failed", "error")
    both = sorted(broken & head.with_outcome("failed", "error"))
    repaired = sorted(broken & head.with_outcome(_GOOD))
    notes = [f"fails on base and on head: {some(both)}"] if both else []
    if flaky := sorted(
        head.flaky | (copies.flaky if (copies := _counting_copies(case)) else set())
    ):
        notes.append(f"failed once, and passed when everything ran once more: {some(flaky)}")
    notes += [f"fails on base and passes on head: {some(repaired)}"] if repaired else []
    conftests = changed_conftests(case.change)
    if conftests and not case.policy.test_changes_allowed:
        notes.append(f"no effect: {some(list(conftests))}; base's version was used")
    copies = case.runs.base_copies
    if copies is not None and case.policy.test_changes_allowed:
        if copies.verdict is not Verdict.PASSED:
            notes.append(
                "base's copies of edited tests could not be run on head: "
                + "; ".join(copies.reasons)
            )
        else:
            lost = sorted(base.with_outcome(_GOOD) - copies.with_outcome(_GOOD))
            notes += (
                [f"base's copies that do not pass on head (test changes are allowed): {some(lost)}"]
                if lost
                else []
            )
    return notes


def _outcome(run: TestRun, nodeid: str) -> str:
    if nodeid in run.outcomes:
        return run.outcomes[nodeid]
    return "deselected" if nodeid in run.not_run else "gone"


def _sentence(run: TestRun, nodeid: str, what: str) -> str:
    lines = [
        line for line in run.details.get(nodeid, "").strip().splitlines() if line.startswith("E ")
    ] or [""]
    detail = lines[0].removeprefix("E").strip()[:200]
    return f"{nodeid}: {what}" + (f": {detail}" if detail else "")


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _report(case: Case, verdict: Verdict, reasons: list[str], notes: list[str]) -> GateReport:
    head, base = case.runs.head, case.runs.base
    return GateReport(
        gate=GATE,
        verdict=verdict,
        reasons=tuple(reasons),
        notes=tuple(notes),
        evidence={
            "base": _counts(base),
            "head": _counts(head),
            "base_copies": _counts(case.runs.base_copies) if case.runs.base_copies else None,
            "flaky": sorted(head.flaky)[:1000],
            "required": len(base.with_outcome(_GOOD)),
            "deselected_on_head": len(head.not_run),
        },
        tool="pytest",
        tool_version=head.pytest_version,
        command=head.tool.argv if head.tool else (),
        exit_code=head.tool.exit_code if head.tool else None,
        duration_s=head.tool.duration_s if head.tool else None,
    )


def _counts(run: TestRun) -> dict[str, int]:
    counts: dict[str, int] = {}
    for outcome in run.outcomes.values():
        counts[outcome] = counts.get(outcome, 0) + 1
    return dict(sorted(counts.items()))

"""`new_tests`: a feature or a fix brings a test that fails without it and passes with it."""

from quality_gates.gates.case import Case, some, verdict_of_head
from quality_gates.model import GateReport, TaskType, Verdict
from quality_gates.selection import new_or_edited_test_modules
from quality_gates.testrun import TestRun

GATE = "new_tests"
_NOT_ASKED = frozenset({TaskType.REFACTOR, TaskType.TEST_ONLY})


def judge(case: Case) -> GateReport:
    """Fail-to-pass evidence, or the reason why there is none."""
    if case.policy.task_type in _NOT_ASKED:
        reason = f"a {case.policy.task_type} task needs no test that fails on base"
        return GateReport(GATE, Verdict.PASSED, (reason,), applicable=False)
    modules = new_or_edited_test_modules(case.change)
    without = case.runs.new_on_base
    if not modules or without is None:
        asked = f"a {case.policy.task_type} task needs one that fails on base"
        return _report(case, Verdict.FAILED, f"the change adds or edits no test; {asked}", [])
    head = case.runs.head
    if head.verdict is not Verdict.PASSED:
        return _report(
            case,
            verdict_of_head(case.runs),
            "head's test run proves nothing: " + "; ".join(head.reasons),
            [],
        )
    if without.verdict not in (Verdict.PASSED, Verdict.FAILED):
        return _report(
            case,
            without.verdict,
            "the new tests' run on base proves nothing: " + "; ".join(without.reasons),
            [],
        )
    proofs = sorted(
        nodeid
        for nodeid in head.with_outcome("passed")
        if nodeid.partition("::")[0] in modules and _fails(without, nodeid)
    )
    proofs = _without_bystanders(proofs, without, case.runs.base)
    if proofs:
        fail, passes = ("test fails", "passes") if len(proofs) == 1 else ("tests fail", "pass")
        reason = f"{len(proofs)} {fail} without the change and {passes} with it: {some(proofs, 3)}"
        return _report(case, Verdict.PASSED, reason, proofs)
    untested = case.runs.base.verdict is not Verdict.PASSED
    return _report(
        case,
        Verdict.INCONCLUSIVE if untested else Verdict.FAILED,
        "no new or edited test fails on base and passes on head",
        [],
    )


def _without_bystanders(proofs: list[str], without: TestRun, base: TestRun) -> list[str]:
    """Where a whole file fails on base by its imports, its old tests prove nothing.

    Unless there are no others, as it was edited.
    """
    old = base.with_outcome("passed")
    return [
        nodeid for nodeid in proofs if nodeid in without.outcomes or nodeid not in old
    ] or proofs


def _fails(run: TestRun, nodeid: str) -> bool:
    """A test that ran and failed, or could not be collected, or nothing could start at all.

    What cannot be collected may be its file, or a folder above it.
    """
    if nodeid in run.outcomes:
        return run.outcomes[nodeid] in ("failed", "error")
    path = nodeid.partition("::")[0]
    above = {path, "", "."} | {path[:end] for end, character in enumerate(path) if character == "/"}
    return run.verdict is Verdict.FAILED or any(
        where.partition("::")[0] in above for where, _ in run.errors
    )


def _report(case: Case, verdict: Verdict, reason: str, proofs: list[str]) -> GateReport:
    run = case.runs.new_on_base
    return GateReport(
        GATE,
        verdict,
        (reason,),
        evidence={
            "fail_to_pass": proofs[:1000],
            "files": list(new_or_edited_test_modules(case.change)),
        },
        tool="pytest",
        tool_version=run.pytest_version if run else None,
        command=run.tool.argv if run and run.tool else (),
        exit_code=run.tool.exit_code if run and run.tool else None,
        duration_s=run.tool.duration_s if run and run.tool else None,
    )

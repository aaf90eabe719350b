"""Everything that a gate may look at: the change, what was asked, and the evidence, read once."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from quality_gates.model import Change, Environment, GatePolicy, Stage, StageEvidence, Verdict
from quality_gates.paths import is_test_path
from quality_gates.selection import base_copies, changed_names, new_or_edited_test_modules
from quality_gates.testrun import TestRun, read_test_run, seen_twice

_NO_PLUGIN = re.compile(r"async def functions are not natively supported|fixture '\w+' not found")


@dataclass(frozen=True, slots=True)
class Runs:
    """The test runs that the change calls for. None: it does not call for that one."""

    base: TestRun
    head: TestRun
    base_copies: TestRun | None
    new_on_base: TestRun | None


@dataclass(frozen=True, slots=True)
class Case:
    """One change before its judge."""

    change: Change
    policy: GatePolicy
    environment: Environment
    evidence: Mapping[Stage, StageEvidence]
    runs: Runs


def open_case(
    change: Change,
    policy: GatePolicy,
    environment: Environment,
    evidence: Mapping[Stage, StageEvidence],
) -> Case:
    """Read the test runs.

    Those that the plan asks for and that are not there are errors, not absences.
    """
    base = read_test_run(Stage.BASE, evidence.get(Stage.BASE))

    def on_head(stage: Stage, again: Stage) -> TestRun:
        first = read_test_run(stage, evidence.get(stage), base, product)
        if again not in evidence:
            return first
        return seen_twice(first, read_test_run(again, evidence[again], base, product))

    product = frozenset(
        path for path in (*changed_names(change), *_present(change)) if not is_test_path(path)
    )
    copies = new = None
    if base_copies(change):
        copies = on_head(Stage.BASE_COPIES, Stage.BASE_COPIES_AGAIN)
    if new_or_edited_test_modules(change):
        new = read_test_run(Stage.NEW_ON_BASE, evidence.get(Stage.NEW_ON_BASE), base)
    head = on_head(Stage.HEAD, Stage.HEAD_AGAIN)
    runs = Runs(_as_far_as_it_is_tested(base, head, change), head, copies, new)
    return Case(change, policy, environment, evidence, runs)


def _as_far_as_it_is_tested(base: TestRun, head: TestRun, change: Change) -> TestRun:
    """Base's run; not to be used where the tests of the change lack what base's tests lack, too.

    A module that is not installed, say: nobody can tell what such tests would have shown.
    """
    missing = {what for _, what in _lacks(base)}
    modules = new_or_edited_test_modules(change)
    lacking = [
        (where, what)
        for where, what in _lacks(head)
        if where.partition("::")[0] in modules and what in missing
    ]
    if base.verdict is not Verdict.PASSED or not lacking:
        return base
    reason = (
        f"{base.stage}: what the change's tests need, base has not either: {lacking[0][0]}:"
        f" {lacking[0][1]}" + (f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else "")
    )
    return replace(base, verdict=Verdict.INCONCLUSIVE, reasons=(reason,))


def _lacks(run: TestRun) -> Iterator[tuple[str, str]]:
    """(What could not run, why): files that cannot be collected, tests without their plug-in."""
    yield from ((where, _last_line(what)) for where, what in run.errors)
    for nodeid in sorted(run.with_outcome("failed", "error")):
        if found := _NO_PLUGIN.search(run.details.get(nodeid, "")):
            yield nodeid, found[0]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("E").strip()[:300] if lines else ""


def _present(change: Change) -> list[str]:
    return [file.path for file in change.files if file.head_mode]


def worst(*verdicts: Verdict) -> Verdict:
    """The worst of several; `passed` of none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.PASSED)


def verdict_of_head(runs: Runs) -> Verdict:
    """That of head's tests; a head that cannot be tested where base cannot either blames nobody."""
    failed, untested = runs.head.verdict is Verdict.FAILED, runs.base.verdict is not Verdict.PASSED
    return Verdict.INCONCLUSIVE if failed and untested else runs.head.verdict


def some(names: list[str], limit: int = 10) -> str:
    """A list for a sentence, cut with the count of the rest."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more

"""One stage's test run.

Exit code, event stream, session report, JUnit file and canary must tell one story.

`TestRun.verdict` says whether the story holds: `passed` means that the outcomes can be believed,
not that they are good.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from quality_gates.model import Stage, StageEvidence, ToolEvidence, Verdict
from quality_gates.parsers import events, junit, session
from quality_gates.parsers.reading import ParseError, read
from quality_gates.testplan import JUNIT, SESSION

CANARY = ("test_vsc_canary_first", "test_vsc_canary_last")
PLATFORM_ENDINGS = frozenset(
    {"evicted", "preempted", "image_missing", "unschedulable", "quota", "lost"}
)
_JUNIT_WORD = {
    "passed": "passed",
    "xpassed": "passed",
    "xfailed": "skipped",
    "skipped": "skipped",
    "failed": "failed",
    "error": "failed",
}
_ERROR = re.compile(
    r"(E\s+|ERROR: )?[\w.]{0,200}(Error|Exception|Warning|Exit|Interrupt)\b|ERROR: "
)
"""As Python and pytest end a traceback."""
FIRST = {Stage.HEAD_AGAIN: Stage.HEAD, Stage.BASE_COPIES_AGAIN: Stage.BASE_COPIES}
"""A stage that runs once more -> the stage that it repeats."""
_CANNOT_START = frozenset({2, 3, 4})
"""pytest's codes for: interrupted, stopped by an internal error, could not be used."""


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a stage's tests did, and whether that can be believed."""

    __test__ = False  # pytest: this is not a test class

    stage: Stage
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    outcomes: Mapping[str, str] = field(default_factory=dict)
    """Stable test id -> outcome; the canary is left out."""
    details: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[tuple[str, str], ...] = ()
    """What could not be collected: id and text."""
    canary: frozenset[str] = frozenset()
    """Outcomes of the canary."""
    disagreements: frozenset[str] = frozenset()
    overruled: frozenset[str] = frozenset()
    """Tests that ended well although their function raised, or was never called."""
    not_run: frozenset[str] = frozenset()
    """Found by pytest, and then deselected or dropped."""
    flaky: frozenset[str] = frozenset()
    """Tests that did not pass, and passed when everything ran once more; here they are `passed`."""
    equals: frozenset[tuple[str, str]] = frozenset()
    """Classes whose objects say that they equal everything: path of the code, name."""
    tool: ToolEvidence | None = None
    pytest_version: str | None = None

    def with_outcome(self, *wanted: str) -> frozenset[str]:
        """Ids of the tests that ended in one of these ways."""
        return frozenset(nodeid for nodeid, outcome in self.outcomes.items() if outcome in wanted)


def stage_problem(stage: Stage, evidence: StageEvidence | None) -> tuple[Verdict, str] | None:
    """Why nothing can be said from this stage at all; None: its sandbox ran to its end."""
    if evidence is None:
        return Verdict.ERRORED, f"there is no evidence of stage {stage}: its sandbox did not run"
    if evidence.ended == "completed":
        return None
    verdict = Verdict.ERRORED if evidence.ended in PLATFORM_ENDINGS else Verdict.INCONCLUSIVE
    detail = f" ({evidence.detail})" if evidence.detail else ""
    return verdict, f"the sandbox of stage {stage} ended by {evidence.ended}{detail}"


def is_canary(nodeid: str) -> bool:
    """One of our own two tests.

    Pytest leaves out the path of a file that was asked for by itself and lies outside the root.
    """
    path, _, name = nodeid.rpartition("::")
    return name in CANARY and (not path or path.endswith(("vsc_canary.py", "vsc_canary")))


def read_test_run(
    stage: Stage,
    evidence: StageEvidence | None,
    base: TestRun | None = None,
    product: frozenset[str] = frozenset(),
) -> TestRun:
    """Read and cross-check everything.

    What `base` shows in the same way is the project's habit, not tampering.

    `product`: the files outside the tests that the patch leaves other than they were.
    """
    problem = stage_problem(stage, evidence)
    if problem is not None or evidence is None:
        verdict, reason = problem or (Verdict.ERRORED, "no evidence")
        return TestRun(stage, verdict, (reason,))
    tool = evidence.tools.get("pytest")
    if tool is None:
        return TestRun(stage, Verdict.INCONCLUSIVE, (f"{stage}: nothing says how pytest ended",))
    if evidence.events is None:
        return TestRun(
            stage,
            Verdict.INCONCLUSIVE,
            (f"{stage}: the stream of test events is broken",),
            tool=tool,
        )
    try:
        stream = events.read_stream(evidence.events)
    except ParseError as error:
        return TestRun(
            stage,
            Verdict.INCONCLUSIVE,
            (f"{stage}: the stream of test events makes no sense: {error}",),
            tool=tool,
        )
    early = _ended_early(stage, tool, stream, evidence.said)
    if early is not None:
        return TestRun(stage, early[0], (early[1],), errors=stream.errors, tool=tool)
    return _cross_checked(stage, evidence, tool, stream, base, product)


def seen_twice(first: TestRun, second: TestRun) -> TestRun:
    """The first run, with what the second excuses; one that cannot be believed excuses nothing."""
    if first.verdict is not Verdict.PASSED or second.verdict is not Verdict.PASSED:
        return first
    flaky = second.with_outcome("passed") - first.with_outcome("passed")
    return replace(
        first, flaky=flaky, outcomes={**first.outcomes, **dict.fromkeys(flaky, "passed")}
    )


def _ended_early(
    stage: Stage, tool: ToolEvidence, stream: events.Stream, said: str
) -> tuple[Verdict, str] | None:
    """The run has no proper end: which verdict, and why."""
    last = f"; running: {', '.join(stream.unfinished[-3:])}" if stream.unfinished else ""
    code, session_code = tool.exit_code, stream.session_exit_code
    if tool.timed_out:
        return Verdict.INCONCLUSIVE, f"{stage}: the tests did not end within their time{last}"
    if code is None:
        return (
            Verdict.INCONCLUSIVE,
            f"{stage}: the test process was killed ({tool.detail or 'no detail'}){last}",
        )
    never_began = code in _CANNOT_START and not stream.outcomes and not stream.dropped_bytes
    if session_code is None and not never_began:
        return Verdict.INCONCLUSIVE, f"{stage}: {_unended(code, stream, said)}{last}"
    if session_code not in (None, code):
        verdict = Verdict.TAMPERED if code == 0 else Verdict.INCONCLUSIVE
        why = _first(stream.errors) or _error_in(said)
        told = f"{stage}: the session ended with {session_code}, the process with {code}{why}"
        return verdict, told
    if code in _CANNOT_START:
        why = _first(stream.errors) or _error_in(said)
        return Verdict.FAILED, f"{stage}: pytest was stopped (exit code {code}){why}"
    return None


def _unended(code: int, stream: events.Stream, said: str) -> str:
    if stream.dropped_bytes:
        return (
            f"{stream.dropped_bytes} bytes of its test events did not fit its record:"
            " too many tests at once, or too long names"
        )
    return f"the process exited with {code} and the session never ended{_error_in(said)}"


def _error_in(text: str) -> str:
    """The last error that a text tells of; where nothing looks like one, its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if _ERROR.match(line)] or lines
    return f": {told[-1][:300]}" if told else ""


def _first(errors: tuple[tuple[str, str], ...]) -> str:
    if not errors:
        return ""
    where, what = errors[0]
    return f": {where}{_error_in(what).removeprefix(':')}" if where else _error_in(what)


def _cross_checked(
    stage: Stage,
    evidence: StageEvidence,
    tool: ToolEvidence,
    stream: events.Stream,
    base: TestRun | None,
    product: frozenset[str],
) -> TestRun:
    complaints: list[tuple[Verdict, str]] = []
    report = _session(evidence, stream, complaints)
    _junit(evidence, stream, complaints)
    canary = frozenset(outcome for nodeid, outcome in stream.outcomes.items() if is_canary(nodeid))
    complaints += _canary(stream, canary, base)
    if stage is Stage.BASE:
        complaints += _nothing_collected(stream)
    if report is not None:
        complaints += _claims(report, base)
    complaints += _equal_to_everything(stream, base, product)
    verdict = max((c[0] for c in complaints), key=list(Verdict).index, default=Verdict.PASSED)
    return TestRun(
        stage=stage,
        verdict=verdict,
        reasons=tuple(f"{stage}: {reason}" for _, reason in complaints),
        outcomes=_stable_outcomes(stream.outcomes),
        details={
            events.stable(nodeid): detail
            for nodeid, detail in stream.details.items()
            if not is_canary(nodeid)
        },
        errors=stream.errors,
        canary=canary,
        disagreements=report.disagreements if report else frozenset(),
        overruled=frozenset(map(events.stable, report.overruled)) if report else frozenset(),
        not_run=frozenset(map(events.stable, report.not_run)) if report else frozenset(),
        equals=stream.equals,
        tool=tool,
        pytest_version=report.pytest_version if report else None,
    )


def _stable_outcomes(outcomes: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for nodeid, outcome in outcomes.items():
        if not is_canary(nodeid):
            name = events.stable(nodeid)
            found[name] = events.worst((found.get(name, outcome), outcome))
    return found


def _session(
    evidence: StageEvidence, stream: events.Stream, complaints: list[tuple[Verdict, str]]
) -> session.SessionReport | None:
    try:
        report = session.parse(read(evidence.outputs.get(SESSION)))
    except ParseError as error:
        complaints.append(
            (Verdict.INCONCLUSIVE, f"the session's report is missing or broken: {error}")
        )
        return None
    differing = sorted(
        nodeid
        for nodeid in {*report.outcomes, *stream.outcomes}
        if report.outcomes.get(nodeid) != stream.outcomes.get(nodeid)
    )
    if differing or report.exit_code != stream.session_exit_code:
        complaints.append(
            (
                Verdict.TAMPERED,
                (
                    "the event stream and the session's report differ: "
                    f"{_some(differing) or 'exit code'}"
                ),
            )
        )
    return report


def _junit(
    evidence: StageEvidence, stream: events.Stream, complaints: list[tuple[Verdict, str]]
) -> None:
    try:
        cases = junit.parse(read(evidence.outputs.get(JUNIT)))
    except ParseError as error:
        complaints.append((Verdict.INCONCLUSIVE, f"the JUnit report is missing or broken: {error}"))
        return
    expected: dict[junit.Key, str] = {}
    for nodeid, outcome in stream.outcomes.items():
        key, word = junit.key_of(nodeid), _JUNIT_WORD[outcome]
        expected[key] = max(
            (expected.get(key, word), word), key=("passed", "skipped", "failed").index
        )
    missing = sorted("::".join(key) for key in expected if key not in cases)
    differing = sorted(
        "::".join(key) for key, word in expected.items() if key in cases and cases[key] != word
    )
    if differing:
        complaints.append(
            (Verdict.TAMPERED, f"the event stream and the JUnit report differ: {_some(differing)}")
        )
    if missing:
        verdict = (
            Verdict.TAMPERED if any(is_canary(name) for name in missing) else Verdict.INCONCLUSIVE
        )
        complaints.append(
            (verdict, f"tests that ran are not in the JUnit report: {_some(missing)}")
        )


def _canary(
    stream: events.Stream, outcomes: frozenset[str], base: TestRun | None
) -> list[tuple[Verdict, str]]:
    wrong = outcomes - {"failed", "error"}
    if wrong:
        habit = base is not None and wrong <= base.canary
        verdict = Verdict.INCONCLUSIVE if habit else Verdict.TAMPERED
        return [
            (
                verdict,
                (
                    f"the canary must fail, and it {', '.join(sorted(wrong))}: "
                    "failing was made impossible"
                ),
            )
        ]
    ended = sum(is_canary(nodeid) for nodeid in stream.outcomes)
    if ended != 2:
        return [
            (
                Verdict.INCONCLUSIVE,
                f"{ended} of 2 canary tests ran: the session was cut short{_first(stream.errors)}",
            )
        ]
    if stream.session_exit_code != 1:
        return [
            (
                Verdict.TAMPERED,
                f"the canary failed, and the session says {stream.session_exit_code} instead of 1",
            )
        ]
    return []


def _nothing_collected(stream: events.Stream) -> list[tuple[Verdict, str]]:
    """Base has files of tests, and pytest can read none of them: it says nothing about a patch."""
    if not stream.errors or not all(is_canary(nodeid) for nodeid in stream.outcomes):
        return []
    count = len(stream.errors)
    return [
        (
            Verdict.INCONCLUSIVE,
            f"no test can be collected, {count} {'file fails' if count == 1 else 'files fail'}"
            + _first(stream.errors),
        )
    ]


def _equal_to_everything(
    stream: events.Stream, base: TestRun | None, product: frozenset[str]
) -> list[tuple[Verdict, str]]:
    """Of what the patch touches in the product alone, and what no file holds.

    What was there before is the project's habit.
    """
    new = stream.equals - (base.equals if base else frozenset())
    names = sorted(
        f"{name} ({path or 'made while running'})"
        for path, name in new
        if not path or path in product
    )
    return (
        [
            (
                Verdict.TAMPERED,
                f"objects that equal everything they are compared with: {_some(names)}",
            )
        ]
        if names
        else []
    )


def _claims(report: session.SessionReport, base: TestRun | None) -> list[tuple[Verdict, str]]:
    found = []
    rewritten = report.disagreements - (base.disagreements if base else frozenset())
    if rewritten:
        found.append(
            (
                Verdict.TAMPERED,
                f"reports say `passed` for tests that raised: {_some(sorted(rewritten))}",
            )
        )
    overruled = _overruled(report, base)
    if overruled:
        found.append(
            (
                Verdict.TAMPERED,
                f"tests `passed` whose function raised or was never called: {_some(overruled)}",
            )
        )
    if report.foreign:
        modules = ", ".join(f"{name} from {origin}" for name, origin in report.foreign[:3])
        found.append(
            (Verdict.INCONCLUSIVE, f"the project was loaded from outside its repository: {modules}")
        )
    return found


def _overruled(report: session.SessionReport, base: TestRun | None) -> list[str]:
    """New ones.

    Where base has the habit (a retry, a plugin that calls the tests), only tests that base calls
    plainly count.
    """
    if base is None:
        return []
    new = frozenset(map(events.stable, report.overruled)) - base.overruled
    return sorted(new & base.with_outcome("passed") if base.overruled else new)


def _some(names: Iterable[str], limit: int = 5) -> str:
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more

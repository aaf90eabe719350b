"""The verdict table of docs/quality-gates.md, row by row, over raw outputs; no sandbox."""

from dataclasses import replace

import pytest
from gate_evidence import (
    CANARY,
    bandit,
    coverage,
    events,
    junit,
    ran,
    ruff,
    secrets,
    semgrep,
    session,
    stage_evidence,
)
from gate_trial import ADD, BASE, CORE, COVERED, COVERED_HEAD, HEAD, MUL, NEW, TEST, Trial

from quality_gates.judge import GATES
from quality_gates.model import SecurityLevel, Stage, TaskType, Verdict
from quality_gates.render.markdown import render
from quality_gates.testrun import FIRST


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path)


def test_an_honest_change_passes_every_gate(trial):
    report = trial.report()

    assert report.verdict is Verdict.PASSED, [gate.reasons for gate in report.gates]
    assert [gate.gate for gate in report.gates] == list(GATES)
    assert all(gate.applicable for gate in report.gates)


@pytest.mark.parametrize("outcome", ["failed", "error", "skipped", "xfailed", "xpassed"])
def test_a_base_test_that_does_not_pass_on_head_blocks(trial, outcome):
    gate = trial.set(Stage.HEAD, trial.head({ADD: outcome, MUL: "passed"})).gate("tests")

    assert gate.verdict is Verdict.FAILED
    assert ADD in gate.reasons[0]
    assert outcome in gate.reasons[0]


def test_a_base_test_that_is_gone_or_deselected_blocks(trial):
    gone = trial.set(Stage.HEAD, trial.head({MUL: "passed"})).gate("tests")
    every = {MUL: "passed", **CANARY}
    hidden = trial.set(
        Stage.HEAD,
        trial.head({MUL: "passed"}, outputs={"session.json": session(every, not_run=[ADD])}),
    ).gate("tests")

    assert gone.verdict is hidden.verdict is Verdict.FAILED
    assert "gone" in gone.reasons[0]
    assert "deselected" in hidden.reasons[0]


def test_what_fails_on_both_sides_is_shown_and_does_not_block(trial):
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, {ADD: "failed"}, covered=COVERED))

    gate = trial.set(Stage.HEAD, trial.head({ADD: "failed", MUL: "passed"})).gate("tests")

    assert gate.verdict is Verdict.PASSED
    assert any(ADD in note for note in gate.notes)


def test_no_test_at_all_is_not_a_pass(trial):
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, {}, covered=COVERED))

    gate = trial.set(Stage.HEAD, trial.head({})).gate("tests")

    assert gate.verdict is Verdict.FAILED
    assert "zero tests" in gate.reasons[0]


def test_a_new_test_must_pass_on_head(trial):
    assert (
        trial.set(Stage.HEAD, trial.head({ADD: "passed", MUL: "failed"})).gate("tests").verdict
        is Verdict.FAILED
    )


EDITED = {**HEAD, TEST: "def test_add():\n    pass\n"}


@pytest.mark.parametrize(("allowed", "verdict"), [(False, Verdict.FAILED), (True, Verdict.PASSED)])
def test_base_copies_of_edited_tests_must_pass_unless_the_task_allows_test_changes(
    tmp_path, allowed, verdict
):
    trial = Trial(tmp_path, head=EDITED)
    trial.set(Stage.BASE_COPIES, trial.make.tests(Stage.BASE_COPIES, {ADD: "failed"}))

    assert trial.gate("tests", test_changes_allowed=allowed).verdict is verdict


DOCUMENTED = BASE[CORE] + '"""\n>>> add(1, 2)\n3\n"""\n'


@pytest.mark.parametrize("example", ["", ">>> add(1, 2)\n-1\n"])
@pytest.mark.parametrize(("allowed", "verdict"), [(False, Verdict.FAILED), (True, Verdict.PASSED)])
def test_an_example_of_the_documentation_is_a_test(tmp_path, example, allowed, verdict):
    head = DOCUMENTED.replace(">>> add(1, 2)\n3\n", example)
    trial = Trial(tmp_path, base={**BASE, CORE: DOCUMENTED}, head={**HEAD, CORE: head})
    ran = {f"{CORE}::calc.core": "passed"}
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, ran, covered=COVERED))
    trial.set(Stage.BASE_COPIES, trial.make.tests(Stage.BASE_COPIES, ran))

    gate = trial.set(Stage.HEAD, trial.head({**ran, MUL: "passed"})).gate(
        "tests", test_changes_allowed=allowed
    )

    assert gate.verdict is verdict, gate.reasons


def test_more_examples_are_welcome(tmp_path):
    head = DOCUMENTED.replace("3\n", "3\n>>> add(0, 0)\n0\n\n")
    trial = Trial(
        tmp_path, base={**BASE, CORE: DOCUMENTED}, head={**HEAD, CORE: "# moved\n" + head}
    )
    ran = {f"{CORE}::calc.core": "passed"}
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, ran, covered=COVERED))
    trial.set(Stage.BASE_COPIES, trial.make.tests(Stage.BASE_COPIES, ran))

    gate = trial.set(Stage.HEAD, trial.head({**ran, MUL: "passed"})).gate("tests")

    assert gate.verdict is Verdict.PASSED, gate.reasons


def test_a_new_test_module_cannot_repair_the_product_for_bases_tests(trial):
    gate = trial.set(Stage.BASE_COPIES, trial.make.tests(Stage.BASE_COPIES, {ADD: "failed"})).gate(
        "tests"
    )

    assert gate.verdict is Verdict.FAILED
    assert "base's copy" in gate.reasons[0]


@pytest.mark.parametrize(("allowed", "verdict"), [(False, Verdict.FAILED), (True, Verdict.PASSED)])
def test_a_deleted_test_needs_leave(tmp_path, allowed, verdict):
    trial = Trial(tmp_path, head={path: content for path, content in HEAD.items() if path != TEST})
    trial.set(Stage.HEAD, trial.head({MUL: "passed"}))

    assert trial.gate("tests", test_changes_allowed=allowed).verdict is verdict


def test_leave_to_edit_tests_is_no_leave_to_break_them(tmp_path):
    trial = Trial(tmp_path, head=EDITED)
    trial.set(Stage.HEAD, trial.head({ADD: "failed", MUL: "passed"}))

    assert trial.gate("tests", test_changes_allowed=True).verdict is Verdict.FAILED


def _without_end(outcomes):
    return {"events": events({**outcomes, **CANARY}, exit_code=None)}


ALL = {ADD: "passed", MUL: "passed"}
DISAGREEMENTS = {
    "exit 0 and no session (H8)": ({"tool": ran(0), **_without_end({})}, Verdict.INCONCLUSIVE),
    "a crash": ({"tool": ran(None, detail="SIGSEGV"), **_without_end({})}, Verdict.INCONCLUSIVE),
    "out of time": ({"tool": ran(None, timed_out=True), **_without_end({})}, Verdict.INCONCLUSIVE),
    "exit code better than the session's (H11)": ({"tool": ran(0)}, Verdict.TAMPERED),
    "exit code worse than the session's": ({"tool": ran(7)}, Verdict.INCONCLUSIVE),
    "a broken stream": ({"events": None}, Verdict.INCONCLUSIVE),
    "a stream that makes no sense": (
        {"events": ({"kind": "finished", "id": ADD, "outcome": "passed"},)},
        Verdict.INCONCLUSIVE,
    ),
    "the JUnit file is missing": ({"outputs": {"junit.xml": None}}, Verdict.INCONCLUSIVE),
    "the JUnit file is garbage": ({"outputs": {"junit.xml": b"<a><b>"}}, Verdict.INCONCLUSIVE),
    "the session's report is missing": ({"outputs": {"session.json": None}}, Verdict.INCONCLUSIVE),
    "the JUnit file was rewritten (H11)": (
        {"outputs": {"junit.xml": junit({**ALL, **dict.fromkeys(CANARY, "passed")})}},
        Verdict.TAMPERED,
    ),
    "the JUnit file lacks the canary": ({"outputs": {"junit.xml": junit(ALL)}}, Verdict.TAMPERED),
    "the session's report was rewritten": (
        {"outputs": {"session.json": session({ADD: "passed"})}},
        Verdict.TAMPERED,
    ),
    "a report says passed, an exception was raised (H12)": (
        {"outputs": {"session.json": session({**ALL, **CANARY}, disagreements=[[ADD, "call"]])}},
        Verdict.TAMPERED,
    ),
    "the project came from elsewhere": (
        {
            "outputs": {
                "session.json": session({**ALL, **CANARY}, foreign=[["calc", "/env/calc.py"]])
            }
        },
        Verdict.INCONCLUSIVE,
    ),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
def test_exit_code_report_stream_and_canary_must_agree(trial, case):
    parts, verdict = DISAGREEMENTS[case]

    report = trial.set(Stage.HEAD, trial.head(ALL, **parts)).report()

    assert report.verdict is verdict
    assert {gate.gate: gate.verdict for gate in report.gates}["tests"] is verdict


def test_a_canary_that_passes_is_tampering_and_one_that_passes_on_base_too_is_unclear(trial):
    fooled = dict.fromkeys(CANARY, "passed")
    every = {**ALL, **fooled}
    parts = {
        "events": events(every),
        "outputs": {"junit.xml": junit(every), "session.json": session(every)},
    }
    trial.set(Stage.HEAD, trial.head(ALL, **parts))
    assert trial.gate("tests").verdict is Verdict.TAMPERED

    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, ALL, covered=COVERED, **parts))
    assert trial.gate("tests").verdict is Verdict.INCONCLUSIVE


def test_a_session_in_which_nothing_could_be_collected_says_why(trial):
    """An old project's settings may make a warning an error in every file, the canary's too."""
    why = "tests/test_core.py:1: in <module>\nE   DeprecationWarning: ast.Str is deprecated"
    parts = {
        "events": events({}, errors=[("tests/test_core.py", why)]),
        "outputs": {"junit.xml": junit({}), "session.json": session({})},
    }
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, ALL, covered=COVERED, **parts))

    gate = trial.set(Stage.HEAD, trial.head(ALL, **parts)).gate("tests")

    assert gate.verdict is Verdict.INCONCLUSIVE
    assert gate.reasons[0].startswith("base itself cannot be tested: ")
    assert all(
        "tests/test_core.py E   DeprecationWarning: ast.Str is deprecated" in reason
        for reason in gate.reasons
    )


@pytest.mark.parametrize("canary", [CANARY, {}], ids=["canaries ran", "stopped before"])
def test_a_base_that_no_test_can_be_collected_of_is_told_first_and_blames_nobody(trial, canary):
    """humanize: its build writes a file that git ignores, and every test imports it."""
    why = "tests/test_i18n.py:1: in <module>\nE   ModuleNotFoundError: No module named 'h._version'"
    parts = {
        "events": events(canary, errors=[("tests/test_i18n.py", why), ("tests/test_n.py", why)]),
        "outputs": {"junit.xml": junit(canary), "session.json": session(canary)},
    }
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, {}, covered=COVERED, **parts))
    trial.set(Stage.HEAD, trial.head({}, **parts))

    report = trial.report()

    assert report.verdict is Verdict.INCONCLUSIVE
    assert "No module named 'h._version'" in report.base_trouble
    assert "2 files fail" in report.base_trouble or not canary
    assert "test requirements" in report.base_trouble, "what to do"
    text = render(report)
    assert text.index("Base could not be tested") < text.index("| gate |")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "  File x\npytest.PytestAssertRewriteWarning: Module already imported; socket\n",
            "; socket",
        ),
        (
            "ImportError while loading conftest 'c'.\nc:1: in <module>\nE   ImportError: trio\nx",
            "trio",
        ),
        ("ERROR: usage: run_tests.py\n", "usage"),
        ("Killed\n", "Killed"),
        ("", "never ended"),
    ],
)
def test_a_base_that_does_not_come_to_its_tests_says_what_its_last_error_was(trial, said, told):
    trial.set(Stage.BASE, stage_evidence(Stage.BASE, {"pytest": ran(1)}, {}, said=said))

    report = trial.report()

    assert report.verdict is Verdict.INCONCLUSIVE
    assert told in report.base_trouble
    assert ("test requirements" in report.base_trouble) == ("ImportError" in said)
    assert ("--stage base" in report.base_trouble) != ("test requirements" in report.base_trouble)


@pytest.mark.parametrize(
    ("on_base", "verdict"), [(True, Verdict.INCONCLUSIVE), (False, Verdict.FAILED)]
)
def test_tests_that_lack_what_bases_lack_too_blame_nobody(trial, on_base, verdict):
    """httpcore, s3fs: a module that some of base's tests import is not installed."""
    lack = "E   ModuleNotFoundError: No module named 'hpack'"
    ran_on_base, ran_on_head = {ADD: "passed", **CANARY}, {ADD: "passed", **CANARY}
    errors = [("tests/test_http2.py", f"x:1: in <module>\n{lack}")] if on_base else []
    trial.set(
        Stage.BASE,
        trial.make.tests(
            Stage.BASE, {ADD: "passed"}, covered=COVERED, events=events(ran_on_base, errors=errors)
        ),
    )
    told = events(ran_on_head, errors=[(NEW, f"y:1: in <module>\n{lack}")])
    trial.set(Stage.HEAD, trial.head({ADD: "passed"}, events=told))
    trial.set(Stage.NEW_ON_BASE, trial.make.tests(Stage.NEW_ON_BASE, {MUL: "failed"}))

    report = trial.report()

    assert report.verdict is verdict, [(gate.gate, gate.reasons) for gate in report.gates]
    assert bool(report.base_trouble) is on_base
    if on_base:
        assert "hpack" in report.base_trouble
        assert "test requirements" in report.base_trouble


def test_tests_without_the_plugin_that_bases_want_too_blame_nobody(trial):
    """aiosignal: asynchronous tests, and nothing that says what runs them."""
    why, other = "E   Failed: async def functions are not natively supported.", f"{TEST}::test_it"
    on_base = {ADD: "passed", other: "failed"}
    told = events({**on_base, **CANARY}, details={other: why})
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, on_base, covered=COVERED, events=told))
    on_head = {**on_base, MUL: "failed"}
    told = events({**on_head, **CANARY}, details={MUL: why})
    trial.set(Stage.HEAD, trial.head(on_head, events=told))

    assert trial.report().verdict is Verdict.INCONCLUSIVE


def test_a_base_that_can_be_tested_has_no_trouble(trial):
    assert trial.report().base_trouble == ""


@pytest.mark.parametrize(
    ("path", "on_base", "allowed", "verdict"),
    [
        (CORE, False, False, Verdict.TAMPERED),
        (CORE, False, True, Verdict.TAMPERED),
        ("", False, False, Verdict.TAMPERED),
        (NEW, False, False, Verdict.FAILED),
        (NEW, False, True, Verdict.PASSED),
        (CORE, True, False, Verdict.PASSED),
        ("calc/__init__.py", False, False, Verdict.PASSED),
    ],
    ids=[
        "product",
        "product, tests may change",
        "made while running",
        "test",
        "test that may change",
        "known",
        "untouched",
    ],
)
def test_an_object_that_equals_everything_is_the_patchs_doing_or_not(
    trial, path, on_base, allowed, verdict
):
    found = {(path, "Anything")}
    every = {ADD: "passed", MUL: "passed", **CANARY}
    trial.set(
        Stage.HEAD, trial.head({ADD: "passed", MUL: "passed"}, events=events(every, equals=found))
    )
    if on_base:
        known = events({ADD: "passed", **CANARY}, equals=found)
        trial.set(
            Stage.BASE, trial.make.tests(Stage.BASE, {ADD: "passed"}, covered=COVERED, events=known)
        )

    gate = trial.gate("tests", test_changes_allowed=allowed)

    assert gate.verdict is verdict, gate.reasons
    assert verdict is Verdict.PASSED or "Anything" in gate.reasons[0]


@pytest.mark.parametrize(
    ("on_base", "on_head", "verdict"),
    [
        ([], [MUL], Verdict.TAMPERED),
        ([], [ADD], Verdict.TAMPERED),
        ([ADD], [ADD], Verdict.PASSED),
        ([ADD], [ADD, MUL], Verdict.PASSED),
    ],
    ids=["a new test", "a test of base", "base does so too", "the project's habit"],
)
def test_a_pass_against_the_tests_own_function_is_tampering_unless_base_does_so(
    trial, on_base, on_head, verdict
):
    for stage, outcomes, names, covered in (
        (Stage.BASE, {ADD: "passed"}, on_base, COVERED),
        (Stage.HEAD, {ADD: "passed", MUL: "passed"}, on_head, COVERED_HEAD),
    ):
        told = session({**outcomes, **CANARY}, overruled=names)
        trial.set(
            stage,
            trial.make.tests(stage, outcomes, covered=covered, outputs={"session.json": told}),
        )

    assert trial.gate("tests").verdict is verdict, trial.gate("tests").reasons


def test_an_exit_on_import_is_a_failure_not_a_mystery(trial):
    """H9: pytest reports an internal error, and everything agrees that it did."""
    parts = {
        "events": events({}, errors=[("tests/test_core.py", "SystemExit: 0")], exit_code=3),
        "tool": ran(3),
    }

    report = trial.set(Stage.HEAD, trial.head({}, **parts)).report()

    assert report.verdict is Verdict.FAILED


@pytest.mark.parametrize("stage", [one for one in Stage if one not in FIRST])
def test_a_stage_without_evidence_is_an_error_never_a_pass(tmp_path, stage):
    trial = Trial(tmp_path, head=EDITED)
    assert trial.report().verdict is Verdict.PASSED
    del trial.stages[stage]

    assert trial.report().verdict is Verdict.ERRORED


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [("oom", Verdict.INCONCLUSIVE), ("deadline", Verdict.INCONCLUSIVE), ("lost", Verdict.ERRORED)],
)
@pytest.mark.parametrize("stage", [Stage.HEAD, Stage.STATIC, Stage.BASE])
def test_a_sandbox_that_did_not_complete_decides_nothing(trial, stage, ended, verdict):
    assert trial.set(stage, replace(trial.stages[stage], ended=ended)).report().verdict is verdict


NEEDED = [
    (stage, output)
    for stage in (Stage.HEAD, Stage.BASE)
    for output in ("junit.xml", "session.json", "coverage.json")
]
NEEDED += [
    (stage, output)
    for stage in (Stage.NEW_ON_BASE, Stage.BASE_COPIES)
    for output in ("junit.xml", "session.json")
]
NEEDED += [
    (stage, output)
    for stage in (Stage.STATIC, Stage.BASE_STATIC)
    for output in ("ruff.json", "bandit.json", "semgrep.json", "secrets.json")
]


GARBAGE = [None, b"", b"{}", b"[]", b"\xff\x00", b"{" * 10_000, b"<testsuites/>"]
TRIALS = [
    (stage, output, garbage)
    for stage, output in NEEDED
    for garbage in GARBAGE
    if (output, garbage) != ("ruff.json", b"[]")
]


@pytest.mark.parametrize(("stage", "output", "garbage"), TRIALS)
def test_garbage_in_any_output_is_never_a_pass(tmp_path, stage, output, garbage):
    trial = Trial(tmp_path, head=EDITED)
    (place := tmp_path / "garbage").write_bytes(garbage or b"")
    outputs = {**trial.stages[stage].outputs, output: place if garbage is not None else None}
    kept = {name: path for name, path in outputs.items() if path is not None}

    assert (
        trial.set(stage, replace(trial.stages[stage], outputs=kept)).report().verdict
        is not Verdict.PASSED
    )


@pytest.mark.parametrize("stage", [Stage.BASE, Stage.HEAD])
def test_a_record_that_does_not_fit_is_said_so_and_blames_nobody(trial, stage):
    outcomes = {ADD: "passed", MUL: "passed"}
    cut = (*events({**outcomes, **CANARY}, exit_code=None), {"kind": "dropped", "bytes": 12_345})
    trial.set(stage, trial.make.tests(stage, outcomes, covered=COVERED, events=cut))

    gate = trial.gate("tests")

    assert gate.verdict is Verdict.INCONCLUSIVE
    assert "12345 bytes of its test events did not fit its record" in gate.reasons[0]
    assert "never ended" not in gate.reasons[0]


def test_no_gate_blames_an_author_for_a_pytest_that_does_not_start_on_base_either(trial):
    """A warning filter that names a module which is not installed."""
    why = ({"kind": "error", "id": "", "detail": "ModuleNotFoundError: No module named 'trio'"},)
    nothing = dict.fromkeys(("junit.xml", "session.json", "coverage.json", "coverage-pragmas.json"))
    for stage in (Stage.BASE, Stage.HEAD, Stage.NEW_ON_BASE):
        stopped = trial.make.tests(stage, {}, exit_code=4, events=why, outputs=nothing)
        trial.set(stage, stopped)

    report = trial.report()

    verdicts = {gate.gate: gate.verdict for gate in report.gates}
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "No module named 'trio'" in report.base_trouble
    assert not [name for name, verdict in verdicts.items() if verdict is Verdict.FAILED]
    assert verdicts["new_tests"] is verdicts["coverage"] is Verdict.INCONCLUSIVE


def test_a_broken_base_is_never_called_tampering(trial):
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, ALL, covered=COVERED, tool=ran(0)))

    assert trial.report().verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("kind", [TaskType.FEATURE, TaskType.BUGFIX])
def test_a_feature_or_a_fix_needs_a_test_that_fails_without_it(trial, kind):
    trial.set(Stage.NEW_ON_BASE, trial.make.tests(Stage.NEW_ON_BASE, {MUL: "passed"}))

    assert trial.gate("new_tests", task_type=kind).verdict is Verdict.FAILED


@pytest.mark.parametrize("kind", [TaskType.REFACTOR, TaskType.TEST_ONLY])
def test_other_tasks_need_none(trial, kind):
    trial.set(Stage.NEW_ON_BASE, trial.make.tests(Stage.NEW_ON_BASE, {MUL: "passed"}))

    gate = trial.gate("new_tests", task_type=kind)
    assert not gate.applicable
    assert gate.reasons


def test_a_collection_error_on_base_is_fail_to_pass_evidence(trial):
    stream = events(CANARY, errors=[(NEW, "ImportError: mul")])

    assert (
        trial.set(Stage.NEW_ON_BASE, trial.make.tests(Stage.NEW_ON_BASE, {}, events=stream))
        .gate("new_tests")
        .verdict
        is Verdict.PASSED
    )


@pytest.mark.parametrize(
    ("executed", "verdict"), [([1, 2, 3, 4], Verdict.PASSED), ([1, 2, 3], Verdict.FAILED)]
)
def test_changed_lines_are_counted_against_the_minimum(trial, executed, verdict):
    covered = {CORE: (executed, sorted({1, 2, 3, 4} - set(executed)))}

    assert (
        trial.set(Stage.HEAD, trial.head(ALL, covered=covered)).gate("coverage").verdict is verdict
    )


def test_a_changed_file_that_coverage_does_not_know_counts_as_not_run(trial):
    gate = trial.set(Stage.HEAD, trial.head(ALL, covered={"calc/__init__.py": ([1], [])})).gate(
        "coverage"
    )

    assert "0 of 2 changed lines ran" in gate.reasons[0]


def test_forged_coverage_shows_in_the_file_that_nobody_imports(trial):
    forged = coverage(COVERED_HEAD).replace(
        '"executed_lines": [], "missing_lines": [1, 4, 6]',
        '"executed_lines": [1, 4, 6], "missing_lines": []',
    )
    assert forged != coverage(COVERED_HEAD)

    assert (
        trial.set(Stage.HEAD, trial.head(ALL, outputs={"coverage.json": forged})).report().verdict
        is Verdict.TAMPERED
    )


@pytest.mark.parametrize("stage", [Stage.HEAD, Stage.BASE_COPIES])
def test_a_test_rewritten_during_the_run_proves_nothing(trial, stage):
    gate = trial.set(stage, replace(trial.stages[stage], altered=(TEST,))).gate("tests")

    assert gate.verdict is Verdict.INCONCLUSIVE
    assert TEST in gate.reasons[0]


@pytest.mark.parametrize("base_too", [False, True])
@pytest.mark.parametrize(
    ("stage", "name"),
    [(Stage.HEAD, "tests"), (Stage.HEAD, "coverage"), (Stage.BASE_COPIES, "tests")],
)
def test_what_a_stage_altered_and_nobody_knows_proves_nothing(trial, stage, name, base_too):
    """That base's list is not whole either is no habit that explains head's."""
    for each in (stage, Stage.BASE) if base_too else (stage,):
        trial.set(each, replace(trial.stages[each], altered_unknown="more than 9 entries"))

    gate = trial.gate(name)

    assert gate.verdict is Verdict.INCONCLUSIVE
    assert "more than 9 entries" in gate.reasons[0]


def test_a_file_that_base_rewrites_as_well_is_the_projects_habit(trial):
    for stage in (Stage.BASE, Stage.HEAD, Stage.BASE_COPIES):
        trial.set(stage, replace(trial.stages[stage], altered=(TEST,)))

    assert trial.gate("tests").verdict is Verdict.PASSED


def test_a_product_file_altered_during_the_run_makes_its_coverage_unclear(trial):
    assert (
        trial.set(Stage.HEAD, replace(trial.stages[Stage.HEAD], altered=(CORE,)))
        .gate("coverage")
        .verdict
        is Verdict.INCONCLUSIVE
    )


AT = f"/workspace/{CORE}"
CHANGED = [AT, f"/workspace/{NEW}"]


@pytest.mark.parametrize(
    ("severity", "level", "verdict"),
    [("LOW", "LOW", "passed"), ("MEDIUM", "LOW", "passed"), ("HIGH", "LOW", "failed"),
    ("LOW", "MEDIUM", "passed"),
     ("MEDIUM", "MEDIUM", "failed"), ("LOW", "HIGH", "failed"), ("LOW", "CRITICAL", "failed")],
)  # fmt: skip
def test_new_security_findings_block_by_level(trial, severity, level, verdict):
    words = {"LOW": "INFO", "MEDIUM": "WARNING", "HIGH": "ERROR"}
    outputs = {
        "bandit.json": bandit([("B307", severity, AT, 4)], CHANGED),
        "semgrep.json": semgrep([("r", words[severity], AT, 4)], CHANGED),
    }
    trial.set(Stage.STATIC, trial.make.static(Stage.STATIC, trial.change, outputs=outputs))

    assert {
        str(trial.gate(name, security_level=SecurityLevel(level)).verdict)
        for name in ("bandit", "semgrep")
    } == {verdict}


def test_what_base_has_is_shown_and_not_blamed(trial):
    """The finding moved by no line here, but it is matched by its text."""
    for stage in (Stage.STATIC, Stage.BASE_STATIC):
        scanned = CHANGED if stage is Stage.STATIC else [f"/workspace/{path}" for path in BASE]
        outputs = {
            "bandit.json": bandit([("B307", "HIGH", AT, 2)], scanned),
            "ruff.json": ruff([("F401", AT, 2)]),
        }
        trial.set(stage, trial.make.static(stage, trial.change, outputs=outputs))

    assert trial.report().verdict is Verdict.PASSED
    assert [finding.new for finding in trial.gate("bandit").findings] == [False]


def test_each_finding_of_base_excuses_one_of_heads(trial):
    base = {"ruff.json": ruff([("F401", AT, 2)])}
    head = {"ruff.json": ruff([("F401", AT, 2), ("F401", AT, 4)])}
    trial.set(Stage.BASE_STATIC, trial.make.static(Stage.BASE_STATIC, trial.change, outputs=base))
    trial.set(Stage.STATIC, trial.make.static(Stage.STATIC, trial.change, outputs=head))

    gate = trial.gate("lint")
    assert [finding.new for finding in gate.findings] == [False, True]
    assert gate.verdict is Verdict.FAILED


STATIC_CASES = {
    "no parser takes the file (H24)": (
        {
            "ruff.json": ruff([(None, AT, 1)]),
            "bandit.json": bandit([], CHANGED, [(AT, "syntax error")]),
        },
        {},
        "bandit",
        "failed",
    ),
    "only semgrep cannot read a region (H26)": (
        {"semgrep.json": semgrep([], CHANGED, [(AT, "Syntax error")])},
        {},
        "semgrep",
        "inconclusive",
    ),
    "only bandit cannot read the file": (
        {"bandit.json": bandit([], CHANGED, [(AT, "syntax error")])},
        {},
        "bandit",
        "inconclusive",
    ),
    "a changed file was not scanned (H25)": (
        {"semgrep.json": semgrep([], CHANGED[:1])},
        {},
        "semgrep",
        "inconclusive",
    ),
    "bandit skipped a file": (
        {"bandit.json": bandit([], CHANGED[:1])},
        {},
        "bandit",
        "inconclusive",
    ),
    "corrupt report": ({"semgrep.json": b"{"}, {}, "semgrep", "errored"),
    "empty report": ({"ruff.json": b""}, {}, "lint", "errored"),
    "no report": ({"bandit.json": None}, {}, "bandit", "errored"),
    "the tool crashed": ({}, {"semgrep": ran(2)}, "semgrep", "errored"),
    "the tool ran out of time": (
        {},
        {"bandit": ran(None, timed_out=True)},
        "bandit",
        "inconclusive",
    ),
    "the output was cut": ({}, {"secrets": ran(0, truncated=True)}, "secrets", "inconclusive"),
}


@pytest.mark.parametrize("case", STATIC_CASES)
def test_a_scanner_that_did_not_do_its_work_is_no_pass(trial, case):
    outputs, tools, gate, verdict = STATIC_CASES[case]
    trial.set(
        Stage.STATIC, trial.make.static(Stage.STATIC, trial.change, outputs=outputs, tools=tools)
    )

    assert trial.gate(gate).verdict == verdict
    assert trial.gate(gate).reasons


@pytest.fixture
def in_batches(trial, monkeypatch):
    """Every file in a run of its own."""
    monkeypatch.setattr("quality_gates.batches.ARGUMENT_BYTES", 1)
    for stage in (Stage.STATIC, Stage.BASE_STATIC):
        trial.set(stage, trial.make.static(stage, trial.change))
    return trial


def test_what_any_run_of_a_tool_has_read_and_found_counts(in_batches):
    assert in_batches.report().verdict is Verdict.PASSED
    second = {"bandit-2.json": bandit([("B307", "HIGH", CHANGED[1], 1)], CHANGED[1:])}
    static = in_batches.make.static(Stage.STATIC, in_batches.change, outputs=second)
    assert {"bandit", "bandit-2"} <= set(static.tools)
    in_batches.set(Stage.STATIC, static)

    gate = in_batches.gate("bandit")

    assert [(finding.path, finding.new) for finding in gate.findings] == [(NEW, True)]
    assert gate.evidence["scanned"] == [CORE, NEW]


@pytest.mark.parametrize("gate", ["lint", "bandit", "semgrep", "secrets"])
def test_a_run_of_a_tool_that_is_missing_is_no_pass(in_batches, gate):
    missing = {"lint": "ruff"}.get(gate, gate) + "-2"
    static = in_batches.stages[Stage.STATIC]
    tools = {name: tool for name, tool in static.tools.items() if name != missing}
    in_batches.set(Stage.STATIC, replace(static, tools=tools))

    assert in_batches.gate(gate).verdict is Verdict.ERRORED


@pytest.mark.parametrize("unread", [("ruff",), ("bandit",), ("ruff", "bandit")], ids="+".join)
def test_what_no_parser_takes_fails_and_what_one_cannot_read_is_unclear(trial, unread):
    where = f"/workspace/{CORE}"
    outputs = {"semgrep.json": semgrep([], [where, f"/workspace/{NEW}"], [(where, "Syntax error")])}
    if "ruff" in unread:
        outputs["ruff.json"] = ruff([(None, where, 1)])
    if "bandit" in unread:
        outputs["bandit.json"] = bandit(
            [], [f"/workspace/{NEW}"], [(where, "syntax error while parsing AST from file")]
        )
    trial.set(Stage.STATIC, trial.make.static(Stage.STATIC, trial.change, outputs=outputs))

    verdict = Verdict.FAILED if len(unread) == 2 else Verdict.INCONCLUSIVE
    assert trial.gate("semgrep").verdict is verdict
    assert trial.gate("bandit").verdict is (verdict if "bandit" in unread else Verdict.PASSED)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_new_secret_blocks_whether_a_comment_allows_it_or_not(trial, allowed):
    document = secrets({AT: ("ab" * 20, 4)}, CHANGED, allowed=allowed)
    trial.set(
        Stage.STATIC,
        trial.make.static(Stage.STATIC, trial.change, outputs={"secrets.json": document}),
    )

    gate = trial.gate("secrets")
    assert gate.verdict is Verdict.FAILED
    assert gate.findings[0].suppressed is allowed


def test_a_secret_that_base_has_in_the_same_file_is_not_blamed(trial):
    for stage in (Stage.STATIC, Stage.BASE_STATIC):
        document = secrets({AT: ("ab" * 20, 2)}, CHANGED)
        trial.set(stage, trial.make.static(stage, trial.change, outputs={"secrets.json": document}))

    assert trial.gate("secrets").verdict is Verdict.PASSED


@pytest.mark.parametrize(
    "document", [secrets({}, CHANGED[:1]), secrets({}, CHANGED[:1], [(AT, "OSError")])]
)
def test_a_changed_file_that_was_not_searched_is_no_pass(trial, document):
    trial.set(
        Stage.STATIC,
        trial.make.static(Stage.STATIC, trial.change, outputs={"secrets.json": document}),
    )

    assert trial.gate("secrets").verdict is Verdict.INCONCLUSIVE


def test_an_empty_change_fails_and_says_so(tmp_path):
    report = Trial(tmp_path, head=BASE).report()

    assert report.verdict is Verdict.FAILED
    assert "empty" in report.gates[-1].reasons[0]


def test_a_refused_entry_fails_and_is_named(trial):
    trial.change = replace(trial.change, refused_entries=("vendored/.git: a nested repository",))

    report = trial.report()
    assert report.verdict is Verdict.FAILED
    assert "vendored/.git" in report.gates[-1].reasons[0]


def test_a_gate_that_does_not_exist_is_refused_and_integrity_cannot_be_left_out(trial):
    with pytest.raises(ValueError, match="no such gate: style"):
        trial.report(gates=("style",))
    assert [gate.gate for gate in trial.report(gates=("lint",)).gates] == ["lint", "integrity"]


def test_requirements_in_prose_are_shown_as_not_judged(trial):
    assert any(
        "Unit test valid login" in note
        for note in trial.report(testing_requirements=("Unit test valid login",)).notes
    )


def test_edited_tests_are_pointed_out_even_where_bases_copies_decided(tmp_path):
    assert any(
        "existing tests that changed" in note and TEST in note
        for note in Trial(tmp_path, head=EDITED).gate("integrity").notes
    )


def test_old_tests_of_a_file_that_base_cannot_import_prove_nothing(tmp_path):
    extended = {
        **HEAD,
        TEST: "from calc.core import mul\n"
        + HEAD[TEST]
        + "def test_more():\n    assert mul(1, 2) == 2\n",
    }
    extended.pop(NEW)
    more = f"{TEST}::test_more"
    trial = Trial(tmp_path, head=extended)
    trial.set(Stage.HEAD, trial.head({ADD: "passed", more: "passed"}))
    stream = events(CANARY, errors=[(TEST, "ImportError: mul")])
    trial.set(Stage.NEW_ON_BASE, trial.make.tests(Stage.NEW_ON_BASE, {}, events=stream))

    gate = trial.gate("new_tests")

    assert gate.evidence["fail_to_pass"] == [more], gate.reasons
    assert gate.reasons[0].startswith("1 test fails without the change and passes with it")

"""What fails once is run once more, under the same conditions, before anybody is blamed."""

import pytest
from gate_trial import ADD, CORE, COVERED_HEAD, HEAD, MUL, TEST, Trial

from quality_gates.gates.tests import MOST_AGAIN
from quality_gates.model import Stage, Verdict

ONCE = {ADD: "failed", MUL: "passed"}
ALL = {ADD: "passed", MUL: "passed"}
EDITED = {**HEAD, TEST: HEAD[TEST] + "\n# another\n"}


def again(trial, outcomes, stage=Stage.HEAD_AGAIN, **more):
    return trial.set(stage, trial.make.tests(stage, outcomes, **{"covered": COVERED_HEAD, **more}))


@pytest.mark.parametrize("outcomes", [ONCE, {ADD: "passed", MUL: "error"}, {MUL: "passed"}])
def test_few_failed_tests_are_to_be_seen_twice(tmp_path, outcomes):
    trial = Trial(tmp_path)
    report = trial.set(Stage.HEAD, trial.head(outcomes)).report()

    assert report.verdict is Verdict.FAILED
    assert report.again == (Stage.HEAD_AGAIN,)


def test_what_passes_the_second_time_is_not_blamed_and_is_listed(tmp_path):
    trial = Trial(tmp_path)
    trial.set(Stage.HEAD, trial.head(ONCE))
    report = again(trial, ALL).report()

    gate = next(gate for gate in report.gates if gate.gate == "tests")
    assert (report.verdict, report.again) == (Verdict.PASSED, ())
    assert ADD in gate.notes[0]
    assert gate.evidence["flaky"] == [ADD]


def test_lines_count_that_run_when_nothing_fails_by_chance(tmp_path):
    trial = Trial(tmp_path)
    trial.set(Stage.HEAD, trial.head(ONCE, covered={CORE: ([1, 3], [2, 4])}))
    report = again(trial, ALL).report()

    assert report.verdict is Verdict.PASSED


def test_what_fails_twice_has_failed(tmp_path):
    trial = Trial(tmp_path)
    trial.set(Stage.HEAD, trial.head(ONCE))
    report = again(trial, ONCE).report()

    assert (report.verdict, report.again) == (Verdict.FAILED, ())


def test_each_time_another_one_is_chance(tmp_path):
    trial = Trial(tmp_path)
    trial.set(Stage.HEAD, trial.head(ONCE))

    assert again(trial, {ADD: "passed", MUL: "failed"}).report().verdict is Verdict.PASSED


def test_a_second_run_that_cannot_be_believed_excuses_nothing(tmp_path):
    trial = Trial(tmp_path)
    trial.set(Stage.HEAD, trial.head(ONCE))

    assert again(trial, ALL, exit_code=0).report().verdict is Verdict.FAILED


def test_many_do_not_fail_by_chance(tmp_path):
    many = {f"{TEST}::test_{number}": "passed" for number in range(MOST_AGAIN + 1)}
    trial = Trial(tmp_path)
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, many, covered=COVERED_HEAD))
    trial.set(Stage.HEAD, trial.head({**dict.fromkeys(many, "failed"), MUL: "passed"}))

    assert trial.report().again == ()


@pytest.mark.parametrize("allowed", [True, False])
def test_bases_copies_are_seen_twice_where_they_decide(tmp_path, allowed):
    trial = Trial(tmp_path, head=EDITED)
    copies = Stage.BASE_COPIES_AGAIN
    trial.set(Stage.BASE_COPIES, trial.make.tests(Stage.BASE_COPIES, {ADD: "failed"}))
    first = trial.report(test_changes_allowed=allowed)
    second = again(trial, {ADD: "passed"}, copies).report(test_changes_allowed=allowed)

    assert first.again == (() if allowed else (copies,))
    assert (second.verdict, second.again) == (Verdict.PASSED, ())


def test_where_base_cannot_be_tested_nothing_runs_again(tmp_path):
    trial = Trial(tmp_path)
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, {}, exit_code=4))
    trial.set(Stage.HEAD, trial.head(ONCE))

    assert trial.report().again == ()

"""`coverage`: what base ran and head still has stays run; a smaller whole is no loss."""

import pytest
from gate_trial import ADD, BASE, CORE, HEAD, MUL, Trial
from gatelab import change_of

from quality_gates.model import Stage, Verdict
from quality_gates.surviving_lines import surviving

ALL = {ADD: "passed", MUL: "passed"}
OTHER = "calc/other.py"


def judged(tmp_path, base, head, on_base, on_head, **policy):
    """The gate for product files `base` and `head` whose lines ran as told."""
    tests = {path: text for path, text in HEAD.items() if path.startswith("tests/")}
    old = {path: text for path, text in BASE.items() if path.startswith("tests/")}
    trial = Trial(tmp_path, base={**old, **base}, head={**tests, **head})
    trial.set(Stage.BASE, trial.make.tests(Stage.BASE, {ADD: "passed"}, covered=on_base))
    trial.set(Stage.HEAD, trial.head(ALL, covered=on_head))
    return trial.gate("coverage", **policy)


def test_a_line_that_ran_on_base_and_runs_no_more_is_refused(tmp_path):
    gate = judged(
        tmp_path, {CORE: BASE[CORE]}, {CORE: HEAD[CORE]},
        {CORE: ([1, 2], [])}, {CORE: ([1, 3, 4], [2])},
    )  # fmt: skip

    assert gate.verdict is Verdict.FAILED
    assert f"{CORE}:2" in gate.reasons[0]


def test_a_line_that_runs_no_more_is_shown_where_the_total_does_not_sink(tmp_path):
    """In iniconfig 2.3.0, what was the usual way is the exception now, and all else is tested."""
    base = {CORE: "a = 1\nif a:\n    b = 2\nif not a:\n    c = 3\n"}
    head = {CORE: "a = 1\nif a:\n    b = 2\nif not a:\n    c = 3\nd = 4\ne = 5\nf = 6\n"}
    gate = judged(
        tmp_path, base, head,
        {CORE: ([1, 2, 3, 4], [5])}, {CORE: ([1, 2, 4, 5, 6, 7, 8], [3])},
    )  # fmt: skip

    assert gate.verdict is Verdict.PASSED, gate.reasons
    assert f"{CORE}:3" in gate.notes[0]
    assert gate.evidence["lost_lines"] == {CORE: [3]}


def test_it_is_found_where_it_has_moved_to(tmp_path):
    gate = judged(
        tmp_path, {CORE: "a = 1\nif a:\n    b = 2\n"}, {CORE: "z = 0\na = 1\nif a:\n    b = 2\n"},
        {CORE: ([1, 2, 3], [])}, {CORE: ([1, 2, 3], [4])},
    )  # fmt: skip

    assert f"{CORE}:4" in gate.reasons[0]


def test_a_smaller_whole_is_no_loss(tmp_path):
    """Tested code that is taken away leaves a lower total, and nobody to blame."""
    base = {CORE: "a = 1\nb = 2\nc = 3\nif a > 1:\n    d = 4\n", OTHER: "x = 1\n"}
    gate = judged(
        tmp_path, base, {CORE: "a = 1\nif a > 1:\n    d = 4\n"},
        {CORE: ([1, 2, 3, 4], [5]), OTHER: ([1], [])}, {CORE: ([1, 2], [3])},
    )  # fmt: skip

    assert gate.evidence["total"]["head"] < gate.evidence["total"]["base"]
    assert gate.verdict is Verdict.PASSED, gate.reasons


def test_a_file_that_head_has_and_does_not_measure_is_lost(tmp_path):
    gate = judged(
        tmp_path, {CORE: BASE[CORE], OTHER: "x = 1\n"}, {CORE: HEAD[CORE], OTHER: "x = 1\n"},
        {CORE: ([1, 2], []), OTHER: ([1], [])}, {CORE: ([1, 2, 3, 4], [])},
    )  # fmt: skip

    assert f"{OTHER}:1" in gate.reasons[0]


def test_a_line_that_is_no_code_any_more_is_not_lost(tmp_path):
    gate = judged(
        tmp_path, {CORE: "a = 1\nb = 2\n"}, {CORE: 'a = 1\n"""\nb = 2\n"""\n'},
        {CORE: ([1, 2], [])}, {CORE: ([1], [])},
    )  # fmt: skip

    assert gate.verdict is Verdict.PASSED


@pytest.mark.parametrize(("ran", "verdict"), [(True, Verdict.PASSED), (False, Verdict.FAILED)])
def test_a_pragma_is_listed_and_its_lines_are_counted_like_all_others(tmp_path, ran, verdict):
    head = HEAD[CORE] + "def sub(a, b):  # pragma: no cover\n    return a - b\n"
    lines = ([1, 2, 3, 4, 5, 6], []) if ran else ([1, 2, 3, 4], [5, 6])

    gate = judged(tmp_path, {CORE: BASE[CORE]}, {CORE: head}, {CORE: ([1, 2], [])}, {CORE: lines})

    assert gate.verdict is verdict
    assert any("pragma: no cover grew from 0 to 1" in note for note in gate.notes)


def test_lines_that_nothing_can_run_here_are_not_asked_for(tmp_path):
    """Requests 2.34.1: half of its new lines are for type checkers."""
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import abc\n    X = abc.ABC\n"
    gate = judged(
        tmp_path, {CORE: BASE[CORE]}, {CORE: BASE[CORE] + types},
        {CORE: ([1, 2], [])}, {CORE: ([1, 2, 3, 4], [5, 6])}, coverage_minimum=1.0,
    )  # fmt: skip

    assert gate.verdict is Verdict.PASSED, gate.reasons
    assert f"{CORE}:5,6" in gate.notes[0]
    assert gate.evidence["changed_lines"]["unrunnable"] == {CORE: [5, 6]}


def test_lines_that_a_patch_does_not_touch_keep_their_order():
    change = change_of(
        {"m.py": "a\nb\nc\nd\ne\n", "gone.py": "x\n"},
        {"m.py": "new\na\nc\nd\nother\nmore\ne\n"},
    )
    files = {file.path: file for file in change.files}

    assert surviving(files["m.py"], [1, 2, 3, 5]) == {1: 2, 3: 3, 5: 7}
    assert surviving(None, [1]) == {1: 1}
    assert surviving(files["gone.py"], [1]) == {}

"""What `make field` calls a success."""

import judge
import pytest

PASSED = {"kind": "honest", "verdict": "passed"}
FAILED = {"kind": "regression", "verdict": "failed", "gates": {"tests": "failed"}, "reasons": {}}


@pytest.mark.parametrize(
    ("gates", "kept"),
    [
        ({"tests": "failed"}, True),
        ({"tests": "passed", "new_tests": "failed"}, True),
        ({"lint": "failed", "tests": "inconclusive"}, False),
        ({"lint": "failed", "new_tests": "not_applicable"}, False),
        ({}, False),
    ],
)
def test_a_regression_fails_by_a_test_and_not_for_its_looks(gates, kept):
    assert judge.kept({**FAILED, "gates": gates}) is kept


@pytest.mark.parametrize(
    ("honest", "wrong", "good"),
    [
        ([PASSED] * 48, [FAILED] * 20, True),
        ([PASSED] * 46 + [{**PASSED, "verdict": "failed"}] * 2, [FAILED] * 20, True),
        ([PASSED] * 45 + [{**PASSED, "verdict": "failed"}] * 3, [FAILED] * 20, False),
        ([PASSED] * 30, [FAILED] * 20, False),
        ([PASSED] * 48, [FAILED] * 19, False),
        ([PASSED] * 48, [FAILED] * 19 + [{**FAILED, "verdict": "passed"}], False),
        ([], [], False),
    ],
)
def test_what_was_not_judged_has_not_passed(honest, wrong, good):
    assert judge.summary([*honest, *wrong], 48)[1] is good

"""Reports: JSON that its schema holds, and Markdown that hostile text cannot bend."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality_gates.model import Finding, GatePolicy, GateReport, Severity, TaskReport, Verdict
from quality_gates.policy import SEVERITY, overall
from quality_gates.render.markdown import render
from quality_gates.report import schema, to_json

TEXT = st.text(max_size=60)
FINDINGS = st.builds(
    Finding, rule=TEXT, severity=st.sampled_from(Severity), path=TEXT, line=st.integers(0, 10**6),
    message=TEXT,
    fingerprint=st.just("a" * 64), new=st.booleans(), blocks=st.booleans(), cwe=st.none() | TEXT,
    suppressed=st.booleans(),
)  # fmt: skip
GATES = st.builds(
    GateReport, gate=TEXT, verdict=st.sampled_from(Verdict),
    reasons=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    applicable=st.booleans(), findings=st.lists(FINDINGS, max_size=2).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
    evidence=st.dictionaries(TEXT, st.lists(st.integers()) | TEXT, max_size=2),
)  # fmt: skip


def task(gates, notes=()):
    return TaskReport(
        overall(gates),
        tuple(gates),
        "0" * 40,
        "1" * 64,
        "sha256:2",
        "3" * 64,
        GatePolicy(),
        tuple(notes),
    )


@given(gates=st.lists(GATES, min_size=1, max_size=3), notes=st.lists(TEXT, max_size=2))
def test_every_report_is_json_of_the_schema_and_renders(gates, notes):
    report = task(gates, notes)

    jsonschema.validate(json.loads(json.dumps(to_json(report), allow_nan=False)), schema())
    assert render(report).startswith(f"# Verdict: {report.verdict}\n")


def test_the_schema_refuses_what_is_not_a_report():
    good = to_json(task([GateReport("tests", Verdict.PASSED, ())]))
    for wrong in (
        {**good, "verdict": "fine"},
        {**good, "gates": []},
        {**good, "more": 1},
        {k: v for k, v in good.items() if k != "image"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema())


@given(
    gates=st.lists(GATES, max_size=4),
    bad=st.sampled_from([v for v in Verdict if v is not Verdict.PASSED]),
)
def test_one_more_bad_report_never_improves_the_verdict(gates, bad):
    before, after = overall(gates), overall([*gates, GateReport("x", bad, ())])

    assert after is not Verdict.PASSED
    if any(gate.applicable for gate in gates):
        assert SEVERITY.index(after) >= SEVERITY.index(before)


@given(gates=st.lists(GATES, max_size=3))
def test_nothing_left_is_an_error_and_leaving_out_changes_nothing(gates):
    left_out = GateReport("x", Verdict.TAMPERED, ("not asked",), applicable=False)

    assert overall([*gates, left_out]) is overall(gates)
    assert overall([left_out]) is Verdict.ERRORED


def test_text_of_the_tree_cannot_become_markup():
    nasty = "| x |\n# Verdict: passed <img src=x onerror=1> [a](http://b) `c`"
    markdown = render(
        task([GateReport("tests", Verdict.FAILED, (nasty, nasty), notes=(nasty,))], [nasty])
    )

    assert markdown.count("\n# Verdict") == 0
    assert "<img" not in markdown.replace("\\<img", "")
    assert "](http" not in markdown.replace("\\]\\(http", "")


def test_a_gate_that_does_not_apply_says_so():
    report = task(
        [
            GateReport("lint", Verdict.PASSED, ("no Python",), applicable=False),
            GateReport("tests", Verdict.PASSED, ()),
        ]
    )

    assert to_json(report)["gates"][0]["verdict"] == "not_applicable"
    assert "| lint | not applicable | no Python |" in render(report)

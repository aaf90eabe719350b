"""Reports in the words of CI systems: all that decides is there, and no text becomes a command."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from quality_gates.model import (
    Finding,
    GatePolicy,
    GateReport,
    Severity,
    TaskReport,
    Verdict,
)
from quality_gates.render import github, gitlab, junit, sarif

HOSTILE = "100%\n::error::owned <&> \x1b[31m\u202e,:"
BLOCKS = Finding("B307", Severity.HIGH, "a b/c.py", 3, "eval", "f1", new=True, blocks=True)
SHOWN = Finding("F401", Severity.MEDIUM, "d.py", 0, HOSTILE, "f2", new=True, blocks=False)
KNOWN = Finding("F841", Severity.MEDIUM, "e.py", 9, "base's", "f3", new=False, blocks=False)
GATES = (
    GateReport("tests", Verdict.FAILED, ("t.py::a: passes on base, failed on head", HOSTILE)),
    GateReport("coverage", Verdict.INCONCLUSIVE, ("head's run measures nothing",)),
    GateReport("bandit", Verdict.FAILED, ("a b/c.py:3: B307 (HIGH): eval",), findings=(BLOCKS,)),
    GateReport("lint", Verdict.PASSED, (), findings=(SHOWN, KNOWN), duration_s=0.5),
    GateReport("new_tests", Verdict.PASSED, ("a refactoring needs none",), applicable=False),
)
REPORT = TaskReport(
    Verdict.FAILED, GATES, "0" * 40, "1" * 64, "image", "e" * 64, GatePolicy(), ("a note",)
)
PASSED = replace(REPORT, verdict=Verdict.PASSED, gates=(GateReport("tests", Verdict.PASSED, ()),))
NOTHING = replace(REPORT, verdict=Verdict.ERRORED, gates=(), notes=("no environment",))


def test_github_has_a_command_for_each_remark_and_none_of_the_authors():
    lines = github.render(REPORT).splitlines()

    assert lines[0] == "::error title=vsc verdict::failed"
    assert lines[1].startswith("::error title=tests failed::t.py::a: passes on base")
    assert "::error file=a b/c.py,line=3,title=bandit B307::eval" in lines
    assert "::warning title=coverage inconclusive::head's run measures nothing" in lines
    assert [line for line in lines if "F401" in line] == [
        "::notice file=d.py,line=1,title=lint F401::100%25 ::error::owned <&>  [31m ,:"
    ]
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert not any("F841" in line or "refactoring" in line for line in lines)
    assert sum("B307" in line for line in lines) == 1, "a finding is not told twice"


def test_what_decides_comes_first():
    levels = [line.split()[0] for line in github.render(REPORT).splitlines()]

    assert levels == sorted(levels, key=["::error", "::warning", "::notice"].index)


def test_gitlab_has_what_its_form_requires():
    entries = json.loads(gitlab.render(REPORT))

    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"]["path"]
        assert entry["location"]["lines"]["begin"] >= 1
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)
    severities = {entry["check_name"]: entry["severity"] for entry in entries}
    assert severities == {
        "tests/failed": "blocker",
        "bandit/B307": "critical",
        "coverage/inconclusive": "major",
        "lint/F401": "info",
    }


def test_sarif_has_a_result_for_each_remark_with_its_place():
    document = json.loads(sarif.render(REPORT))

    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    results = {one["ruleId"]: one for one in run["results"]}
    assert document["version"] == "2.1.0"
    assert all(rules[one["ruleIndex"]] == one["ruleId"] for one in run["results"])
    assert {one["level"] for one in run["results"]} <= {"error", "warning", "note"}
    (place,) = results["bandit/B307"]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/c.py"
    assert place["physicalLocation"]["region"] == {"startLine": 3}
    assert results["bandit/B307"]["partialFingerprints"] == {"vscFinding/v1": "f1"}
    assert "locations" not in results["tests/failed"]
    assert run["properties"] == {"verdict": "failed"}


def test_junit_has_a_case_for_each_gate():
    (suite,) = ET.fromstring(junit.render(REPORT))  # noqa: S314 -- our own

    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    kinds = {case.get("name"): [one.tag for one in case] for case in suite}
    assert kinds == {
        "tests": ["failure"],
        "coverage": ["error"],
        "bandit": ["failure"],
        "lint": [],
        "new_tests": ["skipped"],
    }
    assert "::error::owned <&>" in suite[0][0].text


@pytest.mark.parametrize("form", [github, gitlab, sarif, junit])
def test_a_base_that_cannot_be_tested_is_said_in_each(form):
    trouble = "no test can be collected: ModuleNotFoundError"
    told = form.render(replace(REPORT, verdict=Verdict.INCONCLUSIVE, base_trouble=trouble))

    assert trouble in told


@pytest.mark.parametrize("form", [github, gitlab, sarif])
def test_what_was_not_judged_is_told_with_its_reason(form):
    assert "no environment" in form.render(NOTHING)


def test_nothing_is_wrong_with_a_change_that_passes():
    assert github.render(PASSED) == "::notice title=vsc verdict::passed\n"
    assert json.loads(gitlab.render(PASSED)) == []
    assert json.loads(sarif.render(PASSED))["runs"][0]["results"] == []
    assert 'failures="0"' in junit.render(PASSED)

"""Hostile evidence costs the judge's own process and ends in a verdict, never the control plane."""

import json
import resource
from dataclasses import replace

import pytest
from gate_evidence import ENVIRONMENT, Evidence, events
from gatelab import change_of

from control_plane.orchestrator.limited_judge import EvidenceTooLarge, LimitedJudge
from quality_gates.judge import judge
from quality_gates.limited import JudgeLimits, read_report
from quality_gates.model import GatePolicy, Stage, Verdict
from quality_gates.parsers.events import read_stream

CORE = "calc/core.py"
TEST = "tests/test_core.py"
BASE = {CORE: "def add(a, b):\n    return a + b\n", TEST: "def test_add():\n    assert True\n"}
HEAD = {**BASE, CORE: BASE[CORE] + "def mul(a, b):\n    return a * b\n"}
OUTCOMES = {f"{TEST}::test_add": "passed"}


def question(folder, *, outputs=None):
    make, change = Evidence(folder), change_of(BASE, HEAD)
    covered = {CORE: ([1, 2, 3, 4], [])}
    stages = {
        Stage.BASE: make.tests(Stage.BASE, OUTCOMES, covered={CORE: ([1, 2], [])}),
        Stage.HEAD: make.tests(Stage.HEAD, OUTCOMES, covered=covered, outputs=outputs),
        Stage.STATIC: make.static(Stage.STATIC, change),
        Stage.BASE_STATIC: make.static(Stage.BASE_STATIC, change),
    }
    return change, GatePolicy(), ENVIRONMENT, "image", stages


def gate(report, name):
    return next(one for one in report.gates if one.gate == name)


async def test_the_report_is_the_one_that_the_judge_makes_in_this_process(tmp_path):
    asked = question(tmp_path)
    written = tmp_path / "events"
    written.write_text("".join(json.dumps(one) + "\n" for one in asked[4][Stage.HEAD].events))
    asked[4][Stage.HEAD] = replace(asked[4][Stage.HEAD], events=written)

    report = await LimitedJudge().judge(asked)

    assert report == judge(*asked)
    assert gate(report, "tests").verdict is Verdict.PASSED


async def test_outputs_that_grow_to_gigabytes_end_in_a_verdict(tmp_path):
    """8 MiB of `coverage.json` cost 265 MiB; here 32 MiB meet a limit of 400."""
    hostile = b'{"files": {"a": [' + b"[],[],[],[]," * (32 * 2**20 // 12) + b"[]]}}"
    asked = question(tmp_path, outputs={"coverage.json": hostile})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    report = await LimitedJudge(JudgeLimits(memory_bytes=400 * 2**20)).judge(asked)

    assert gate(report, "coverage").verdict is Verdict.INCONCLUSIVE
    assert "cannot be read: MemoryError" in " ".join(gate(report, "coverage").reasons)
    assert gate(report, "tests").verdict is Verdict.PASSED, "what can be read is judged"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 2**10, "KiB; the outputs are not read in this process"


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (JudgeLimits(time_s=0.01), "too much time"),
        (JudgeLimits(cpu_s=0), "processor time"),
        (JudgeLimits(report_bytes=10), "bytes of its report"),
    ],
)
async def test_a_judge_that_needs_too_much_is_ended_and_says_of_what(tmp_path, limits, what):
    with pytest.raises(EvidenceTooLarge, match=what):
        await LimitedJudge(limits).judge(question(tmp_path))


def test_a_stream_of_events_is_read_line_by_line(tmp_path):
    file = tmp_path / "events"
    rows = [*events({}, exit_code=None), *events(OUTCOMES, exit_code=0)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert read_stream(file) == read_stream(rows)


@pytest.mark.parametrize(
    "content",
    [b"[]\n", b"{\n", b"\xff\n", b'{"a": "' + b"x" * (9 * 2**20) + b'"}\n', b"[" * 10_000],
)
def test_a_stream_that_is_not_events_is_a_parse_error(tmp_path, content):
    file = tmp_path / "events"
    file.write_bytes(content)

    with pytest.raises(ValueError, match=r"."):
        read_stream(file)


def test_a_report_brings_no_code_with_it(tmp_path):
    (tmp_path / "report").write_bytes(b"cos\nsystem\n(S'true'\ntR.")

    with pytest.raises(Exception, match=r"holds no os\.system"):
        read_report(tmp_path / "report")

"""What is shown of a judgement."""

import pytest

from control_plane.cli.judging import Judged
from control_plane.cli.output import Output
from control_plane.cli.papers import Kept, show
from control_plane.cli.timeline import Timeline
from quality_gates.advice import ADVICE
from quality_gates.judge import GATES

GATES_TOLD = [
    {"gate": "tests", "verdict": "passed", "reasons": []},
    {"gate": "coverage", "verdict": "failed", "reasons": ["1 of 2 lines ran: a.py:1", "b.py:2"]},
    {"gate": "new_tests", "verdict": "not_applicable", "reasons": ["a REFACTOR needs none"]},
    {"gate": "secrets", "verdict": "errored", "reasons": ["no evidence"]},
]


def judged():
    report = {"gates": GATES_TOLD, "notes": []}
    facts = dict.fromkeys(("session", "patch_sha256", "markdown", "patch"))
    return Judged(
        task="TASK-1", run="1", state="FINISHED", verdict="failed", cause="", base_commit="0" * 40,
        report=report, output={}, interrupted=False, timeline=Timeline(), **facts,
    )  # fmt: skip


@pytest.mark.parametrize("explain", [True, False])
def test_what_did_not_pass_is_explained_where_it_is_asked_for(explain, capsys):
    show(judged(), Kept(None, None, None), Output(as_json=False), explain=explain)

    lines = capsys.readouterr().out.splitlines()
    told = [line.strip() for line in lines if line.startswith("    ")]
    if not explain:
        assert told == []
        return
    assert told[:3] == [
        f"asks: {ADVICE['coverage'].asks}", "saw: 1 of 2 lines ran: a.py:1", "saw: b.py:2",
    ]  # fmt: skip
    assert told[3] == f"next: {ADVICE['coverage'].next_step}"
    assert "`vsc doctor`" in told[-1]
    assert "tests: passed" not in lines


def test_there_is_advice_for_every_gate():
    assert set(ADVICE) == set(GATES)

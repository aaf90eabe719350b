"""Exit codes, progress, the doctor's judgement of versions: all pure."""

import io

import pytest
from rich.console import Console

from control_plane.cli.doctor import git_finding, runc_finding
from control_plane.cli.errors import exit_code
from control_plane.cli.judging import repository_key
from control_plane.cli.output import Output
from control_plane.cli.show import Progress, gates_table, moment, plain
from control_plane.cli.timeline import Timeline
from quality_gates.model import Verdict


def shown(renderable):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    console.print(renderable)
    return console.file.getvalue()


def event(second, kind, **payload):
    return {"at": f"2026-01-01T00:00:{second:02}+00:00", "kind": kind, "payload": payload}


def test_every_verdict_has_its_exit_code():
    codes = {verdict: exit_code(verdict.value) for verdict in Verdict}

    assert codes.pop(Verdict.PASSED) == 0
    assert codes.pop(Verdict.FAILED) == 1
    assert set(codes.values()) == {3}
    assert exit_code(None) == 2


def test_a_timeline_knows_what_took_how_long():
    timeline = Timeline()
    for one in (
        event(0, "queued", run="session"),
        event(1, "state", to="HYDRATING"),
        event(2, "state", to="EXECUTING"),
        event(2, "stage.planned", stage="execute", n=0),
        event(4, "stage.launched", stage="execute", n=0),
        event(9, "stage.ended", stage="execute", n=0, ended="oom", exit_code=None, detail="2 GiB"),
        event(10, "state", to="FINISHED"),
        event(10, "queued", run="judge"),
        event(12, "state", to="VERIFYING"),
        event(15, "state", to="FINISHED"),
    ):
        timeline.feed(one)
    timeline.feed(event(11, "stage.planned", stage="base", n=1), shared="base")
    timeline.feed(event(11, "stage.planned", stage="base-static", n=0), shared="base")

    assert timeline.stages() == [
        {"half": "session", "name": "queued", "seconds": 1.0, "note": ""},
        {"half": "session", "name": "hydrating", "seconds": 1.0, "note": ""},
        {"half": "session", "name": "executing", "seconds": 8.0, "note": ""},
        {"half": "session", "name": "execute", "seconds": 5.0, "note": "oom 2 GiB"},
        {"half": "judgement", "name": "queued", "seconds": 2.0, "note": ""},
        {"half": "judgement", "name": "verifying", "seconds": 3.0, "note": ""},
    ]
    halves = [line for line in timeline.lines if line.depth == 0]
    assert [(line.name, line.seconds(line.ended_at)) for line in halves] == [
        ("session", 10.0),
        ("judgement", 5.0),
    ]
    names = [line.name for line in timeline.lines]
    assert names[-2:] == ["base (launch 2)", "base: base-static"]
    assert "oom 2 GiB" in shown(Progress(timeline))


async def test_what_belongs_to_a_half_is_told_before_the_half_itself():
    timeline, output = Timeline(), Output(as_json=False)
    output.people = Console(file=io.StringIO())
    async with output.progress(timeline):
        for one in (
            event(0, "queued", run="session"),
            event(1, "state", to="EXECUTING"),
            event(4, "state", to="FINISHED"),
        ):
            timeline.feed(one)

    told = output.people.file.getvalue().splitlines()
    assert told == ["  queued: 1.0 s", "  executing: 3.0 s", "session: 4.0 s"]


def test_a_line_that_was_relaunched_or_judged_again_is_said():
    timeline = Timeline()
    timeline.feed(event(0, "judged.again", verdict="flaky", attempt=1, reasons=[]))

    assert "flaky" in timeline.lines[0].name


def test_a_time_is_shown_in_utc_to_the_second():
    assert moment("2026-11-24T23:00:27.904310+02:00") == "2026-11-24 21:00:27"
    assert moment("2026-11-24T21:00:27.904310Z") == "2026-11-24 21:00:27"


def test_text_of_a_repository_cannot_steer_the_terminal():
    hostile = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\u202egnp\x9b31m"
    text = shown(gates_table([{"gate": "tests", "verdict": "failed", "reasons": [hostile]}]))

    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert "[red]x[/red]" in text  # shown, not obeyed
    assert "\u202e" not in plain(hostile)
    assert "\x9b" not in plain(hostile)


@pytest.mark.parametrize(
    ("version", "state", "cve"),
    [
        ("runc version 1.1.5+ds1", "warn", "CVE-2024-21626"),
        ("runc version 1.1.12", "warn", "CVE-2025-31133"),
        ("runc version 1.2.7", "warn", "CVE-2025-31133"),
        ("runc version 1.2.8", "ok", ""),
        ("runc version 1.3.2", "warn", "CVE-2025-31133"),
        ("runc version 1.3.3", "ok", ""),
        ("runc version 1.4.0", "ok", ""),
        ("what", "warn", ""),
    ],
)
def test_the_doctor_knows_which_runc_is_in_the_range_of_a_cve(version, state, cve):
    finding = runc_finding(version)

    assert finding.state == state
    assert cve in finding.detail
    assert bool(finding.advice) == (state != "ok")


@pytest.mark.parametrize(
    ("version", "state"),
    [("git version 2.39.5", "ok"), ("git version 2.30.2", "fail"), ("", "fail")],
)
def test_the_doctor_wants_a_git_that_can_be_hardened(version, state):
    assert git_finding(version).state == state


def test_a_directory_has_one_key_and_another_directory_another(tmp_path):
    one, other = tmp_path / "a b" / "repo", tmp_path / "c" / "repo"

    assert repository_key(one) == repository_key(one)
    assert repository_key(one) != repository_key(other)
    assert repository_key(tmp_path / ("ü" * 100)).isascii()

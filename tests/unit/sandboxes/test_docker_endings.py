"""How a dead container is read: flags and our own decisions count, a number alone never does."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from sandboxes.docker.endings import outcome_of
from sandboxes.docker.engine import Container
from sandboxes.docker.records import Ending
from sandboxes.remains import Remains
from sandboxes.spec import Artifact, Ended, Usage

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(seconds=5)
DEAD = Container(
    id="c", name="n", install="i", fingerprint="f", running=False, paused=False,
    started_at=START, finished_at=END, exit_code=0, oom_killed=False, error="",
)  # fmt: skip
BEFORE, AFTER = END - timedelta(seconds=1), END + timedelta(seconds=1)

CASES = {
    "success": ({}, None, Ended.COMPLETED),
    "a failing command": ({"exit_code": 1}, None, Ended.COMPLETED),
    "exit 137 of its own (S05)": ({"exit_code": 137}, None, Ended.COMPLETED),
    "out of memory (S03)": ({"exit_code": 137, "oom_killed": True}, None, Ended.OOM),
    "a child out of memory, exit 0 (S04)": ({"oom_killed": True}, None, Ended.OOM),
    "our deadline": ({"exit_code": 137}, Ending(Ended.DEADLINE, BEFORE, "late"), Ended.DEADLINE),
    "our deadline, and memory": (
        {"oom_killed": True},
        Ending(Ended.DEADLINE, BEFORE, "late"),
        Ended.DEADLINE,
    ),
    "a graceful end after TERM": ({}, Ending(Ended.TERMINATED, BEFORE, "asked"), Ended.TERMINATED),
    "it was over before we decided (F44)": (
        {},
        Ending(Ended.TERMINATED, AFTER, "asked"),
        Ended.COMPLETED,
    ),
    "never started": ({"started_at": None, "finished_at": None}, None, Ended.LOST),
}


@pytest.mark.parametrize("case", CASES)
def test_how_it_ended(case):
    change, ending, expected = CASES[case]

    outcome = outcome_of(dataclasses.replace(DEAD, **change), ending, Usage(), Remains())

    assert outcome.ended is expected


def test_a_forgotten_container_is_lost_without_an_exit_code():
    outcome = outcome_of(None, None, Usage(), Remains())

    assert (outcome.ended, outcome.exit_code) == (Ended.LOST, None)


@pytest.mark.parametrize(
    ("code", "ending", "away", "expected"),
    [
        (143, None, BEFORE, Ended.LOST),
        (255, None, BEFORE, Ended.LOST),
        (137, None, AFTER, Ended.LOST),
        (137, None, START - timedelta(seconds=1), Ended.COMPLETED),
        (0, None, BEFORE, Ended.COMPLETED),
        (1, None, BEFORE, Ended.COMPLETED),
        (137, Ending(Ended.DEADLINE, BEFORE, "late"), BEFORE, Ended.DEADLINE),
    ],
)
def test_an_engine_that_was_away_has_ended_what_nobody_else_did(code, ending, away, expected):
    dead = dataclasses.replace(DEAD, exit_code=code)

    left = Remains(outputs={"result.json": Artifact("0" * 64, 1)})
    outcome = outcome_of(dead, ending, Usage(), left, away)

    assert outcome.ended is expected


@pytest.mark.parametrize(
    ("code", "away", "expected"),
    [(2, BEFORE, Ended.LOST), (2, None, Ended.COMPLETED), (0, BEFORE, Ended.COMPLETED)],
)
def test_what_left_nothing_while_the_engine_was_away_has_never_run(code, away, expected):
    """The engine went while it started the container: there was no program to start."""
    outcome = outcome_of(dataclasses.replace(DEAD, exit_code=code), None, Usage(), Remains(), away)

    assert outcome.ended is expected


def test_what_ends_at_once_has_not_begun_after_its_end():
    """The engine notes the start of a quick command some milliseconds after its end."""
    dead = dataclasses.replace(DEAD, started_at=END + timedelta(milliseconds=3))

    outcome = outcome_of(dead, None, Usage(), Remains())

    assert outcome.started_at == outcome.finished_at == END

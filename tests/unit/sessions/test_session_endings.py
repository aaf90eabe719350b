"""Whom the end of a session is laid to: the agent, the platform, a person."""

import pytest

from control_plane.sessions.endings import End, session_end
from sandboxes.spec import Ended, SandboxOutcome

WELL = {"outcome": "exited", "exit_code": 0}


def end(ended=Ended.COMPLETED, code=0, result=WELL, *, asked=False):
    return session_end(SandboxOutcome(ended, code, "so it was"), result, cancel_requested=asked)


def test_only_an_end_in_which_all_agree_is_a_success():
    assert end().end is End.SUCCESS
    assert end(code=124).end is End.FAILURE
    assert end(result={**WELL, "exit_code": 1}).end is End.FAILURE
    assert end(result={}).end is End.FAILURE


@pytest.mark.parametrize("ended", list(Ended))
def test_every_way_a_sandbox_ends_has_a_cause_and_somebody_it_is_laid_to(ended):
    how = end(ended, code=None, result={})

    agents = {Ended.OOM, Ended.DEADLINE}
    asked = {Ended.TERMINATED}
    platforms = set(Ended) - agents - asked
    expected = dict.fromkeys(agents, End.FAILURE) | dict.fromkeys(asked, End.CANCELLED)
    assert how.end is (expected | dict.fromkeys(platforms, End.LOST))[ended]
    assert how.cause


@pytest.mark.parametrize("code", [137, 143])
def test_a_runner_that_was_ended_from_outside_is_the_platforms(code):
    how = end(code=code, result={"outcome": "terminated", "exit_code": None})

    assert how.end is End.LOST
    assert f"from outside (exit code {code})" in how.cause


def test_a_cancel_counts_more_than_how_it_ended():
    assert end(Ended.OOM, 137, asked=True).end is End.CANCELLED


def test_the_agents_word_is_told_and_cut():
    how = end(result={"outcome": "x" * 99, "exit_code": 3, "detail": "y" * 9999})

    assert "exit code 3: yyy" in how.cause
    assert len(how.cause) < 700


def test_what_was_refused_before_it_began_is_told_without_an_exit_code():
    how = end(result={"outcome": "refused", "exit_code": None, "detail": "no such command"})

    assert how.cause == "the agent's command ended as refused: no such command"

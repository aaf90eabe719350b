"""The legal moves of runs and tasks, and what a verdict does: pure rules, searched exhaustively."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.runs import rules as runs
from control_plane.runs.rules import RunKind, RunState
from control_plane.tasks import rules as tasks
from control_plane.tasks.rules import TaskStatus, effect_of
from quality_gates.model import Verdict

ORDER = list(RunState)
KINDS = st.sampled_from(list(RunKind))


def reachable(start, moves):
    found, left = {start}, [start]
    while left:
        new = moves(left.pop()) - found
        found |= new
        left.extend(new)
    return found


@given(KINDS, st.sampled_from(list(RunState)), st.sampled_from(list(RunState)))
def test_a_run_never_goes_back_and_never_leaves_its_end(kind, from_, to):
    if runs.legal(kind, from_, to):
        assert from_ not in runs.TERMINAL
        assert ORDER.index(to) > ORDER.index(from_)


@given(KINDS, st.sampled_from(runs.LIVE))
def test_any_live_run_can_be_cancelled_and_lost(kind, state):
    assert {RunState.CANCELLED, RunState.LOST} <= runs.moves_from(kind, state)


@given(KINDS, st.data())
def test_every_walk_ends_and_can_finish(kind, data):
    state, steps = RunState.QUEUED, 0
    while state not in runs.TERMINAL:
        assert RunState.FINISHED in reachable(state, lambda each: runs.moves_from(kind, each))
        state = data.draw(st.sampled_from(sorted(runs.moves_from(kind, state))))
        steps += 1
    assert steps <= 5


def test_the_ways_of_a_session_and_of_a_judgement_are_the_designs():
    executes = ["QUEUED", "HYDRATING", "EXECUTING", "DEHYDRATING", "FINISHED"]
    judges = ["QUEUED", "HYDRATING", "VERIFYING", "FINISHED"]
    for kind, way in ((RunKind.SESSION, executes), (RunKind.JUDGE, judges)):
        assert all(runs.legal(kind, RunState(a), RunState(b)) for a, b in pairwise(way))
    assert not runs.legal(RunKind.SESSION, RunState.QUEUED, RunState.EXECUTING)
    assert not any(runs.legal(RunKind.SESSION, state, RunState.VERIFYING) for state in RunState), (
        "a session never judges"
    )
    assert not any(runs.legal(RunKind.JUDGE, state, RunState.EXECUTING) for state in RunState), (
        "a judgement never executes"
    )


def test_task_moves_name_every_status_and_ends_are_ends():
    assert set(tasks.MOVES) == set(TaskStatus)
    assert {status for status, to in tasks.MOVES.items() if not to} == tasks.TERMINAL
    assert reachable(TaskStatus.QUEUED, lambda each: tasks.MOVES[each]) == set(TaskStatus)
    assert all(
        TaskStatus.CANCELLED in to
        for status, to in tasks.MOVES.items()
        if status not in tasks.TERMINAL
    )


def test_only_review_approves():
    assert [status for status in TaskStatus if tasks.legal(status, TaskStatus.APPROVED)] == [
        TaskStatus.READY_FOR_REVIEW
    ]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_has_one_effect(verdict, last):
    effect = effect_of(verdict, last=last)

    assert effect.counts_as_retry == (verdict in {Verdict.FAILED, Verdict.TAMPERED})
    assert (effect.status is TaskStatus.READY_FOR_REVIEW) == (verdict is Verdict.PASSED)
    undecided = verdict in {Verdict.FLAKY, Verdict.INCONCLUSIVE, Verdict.ERRORED}
    assert effect.judge_again == (undecided and not last)
    assert effect.needs_human == (undecided and last)
    assert effect.status is None or tasks.legal(TaskStatus.IN_PROGRESS, effect.status)

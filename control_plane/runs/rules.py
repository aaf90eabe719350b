"""The states of a run and the moves between them (DESIGN section 4). Pure."""

from enum import StrEnum


class RunKind(StrEnum):
    """`prepare` builds an environment, `base` judges a base commit.

    Both are shared by cache key (DESIGN section 2).
    """

    TASK = "task"
    PREPARE = "prepare"
    BASE = "base"


class RunState(StrEnum):
    """Declared in the order in which a run passes through them."""

    QUEUED = "QUEUED"
    HYDRATING = "HYDRATING"
    EXECUTING = "EXECUTING"
    DEHYDRATING = "DEHYDRATING"
    VERIFYING = "VERIFYING"
    FINISHED = "FINISHED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


class SandboxState(StrEnum):
    """`PLANNED` is written before the engine is asked, so that a crash in between loses nothing."""

    PLANNED = "PLANNED"
    LAUNCHED = "LAUNCHED"
    ENDED = "ENDED"
    DESTROYED = "DESTROYED"


class SessionStatus(StrEnum):
    """SPEC section 5.8."""

    SUCCESS = "success"
    FAILURE = "failure"


_S = RunState
TERMINAL = frozenset({_S.FINISHED, _S.CANCELLED, _S.LOST})
LIVE = tuple(state for state in RunState if state not in TERMINAL)

_ANYWHERE = frozenset({_S.CANCELLED, _S.LOST})
# FINISHED from an early state: the run ended with a verdict that needed no further step (an image
# is missing, the patch was refused). A prepare or base run skips the states that it has no use for.
_FORWARD: dict[RunKind, dict[RunState, frozenset[RunState]]] = {
    RunKind.TASK: {
        _S.QUEUED: frozenset({_S.HYDRATING}),
        _S.HYDRATING: frozenset({_S.EXECUTING, _S.FINISHED}),
        _S.EXECUTING: frozenset({_S.DEHYDRATING, _S.FINISHED}),
        _S.DEHYDRATING: frozenset({_S.VERIFYING, _S.FINISHED}),
        _S.VERIFYING: frozenset({_S.FINISHED}),
    },
    RunKind.PREPARE: {
        _S.QUEUED: frozenset({_S.HYDRATING}),
        _S.HYDRATING: frozenset({_S.EXECUTING, _S.FINISHED}),
        _S.EXECUTING: frozenset({_S.DEHYDRATING, _S.FINISHED}),
        _S.DEHYDRATING: frozenset({_S.FINISHED}),
    },
    RunKind.BASE: {
        _S.QUEUED: frozenset({_S.HYDRATING}),
        _S.HYDRATING: frozenset({_S.VERIFYING, _S.FINISHED}),
        _S.VERIFYING: frozenset({_S.FINISHED}),
    },
}


def moves_from(kind: RunKind, state: RunState) -> frozenset[RunState]:
    """Every state that a run of this kind may go to from `state`; empty for a terminal one."""
    if state in TERMINAL:
        return frozenset()
    return _FORWARD[kind].get(state, frozenset()) | _ANYWHERE


def legal(kind: RunKind, from_: RunState, to: RunState) -> bool:
    """Whether a run may move so."""
    return to in moves_from(kind, from_)

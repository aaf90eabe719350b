"""The states of a run and the moves between them (DESIGN section 4). Pure."""

from enum import StrEnum


class RunKind(StrEnum):
    """What the queue drives (DESIGN section 2).

    `session` is one agent working once, `judge` is what the gates find of one patch. `prepare`
    builds an environment, `base` judges a base commit: both are shared by cache key.
    """

    SESSION = "session"
    JUDGE = "judge"
    PREPARE = "prepare"
    BASE = "base"


SHARED = frozenset({RunKind.PREPARE, RunKind.BASE})
"""Kinds of which one at a time lives per cache key, for all who want it."""


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


_S = RunState
TERMINAL = frozenset({_S.FINISHED, _S.CANCELLED, _S.LOST})
LIVE = tuple(state for state in RunState if state not in TERMINAL)

_ANYWHERE = frozenset({_S.CANCELLED, _S.LOST})
# FINISHED from an early state: nothing further was needed (the environment cannot be had, the patch
# does not apply, an image is missing).
_EXECUTES = {
    _S.QUEUED: frozenset({_S.HYDRATING}),
    _S.HYDRATING: frozenset({_S.EXECUTING, _S.FINISHED}),
    _S.EXECUTING: frozenset({_S.DEHYDRATING, _S.FINISHED}),
    _S.DEHYDRATING: frozenset({_S.FINISHED}),
}
_JUDGES = {
    _S.QUEUED: frozenset({_S.HYDRATING}),
    _S.HYDRATING: frozenset({_S.VERIFYING, _S.FINISHED}),
    _S.VERIFYING: frozenset({_S.FINISHED}),
}
_FORWARD: dict[RunKind, dict[RunState, frozenset[RunState]]] = {
    RunKind.SESSION: _EXECUTES,
    RunKind.PREPARE: _EXECUTES,
    RunKind.JUDGE: _JUDGES,
    RunKind.BASE: _JUDGES,
}


def moves_from(kind: RunKind, state: RunState) -> frozenset[RunState]:
    """Every state that a run of this kind may go to from `state`; empty for a terminal one."""
    if state in TERMINAL:
        return frozenset()
    return _FORWARD[kind].get(state, frozenset()) | _ANYWHERE


def legal(kind: RunKind, from_: RunState, to: RunState) -> bool:
    """Whether a run may move so."""
    return to in moves_from(kind, from_)

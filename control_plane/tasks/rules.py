"""Where a task stands, which moves are legal, and what a verdict does to it (DESIGN section 4).

Pure.
"""

from dataclasses import dataclass
from enum import StrEnum

from quality_gates.model import Verdict


class TaskStatus(StrEnum):
    """SPEC section 4.3, and `CANCELLED`."""

    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    IN_PROGRESS = "IN_PROGRESS"
    READY_FOR_REVIEW = "READY_FOR_REVIEW"
    REJECTED = "REJECTED"
    APPROVED = "APPROVED"
    NEEDS_REASSIGNMENT = "NEEDS_REASSIGNMENT"
    CANCELLED = "CANCELLED"


_S = TaskStatus
TERMINAL = frozenset({_S.APPROVED, _S.CANCELLED})
MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    # A change that a person brings has no agent, so QUEUED may go straight to IN_PROGRESS.
    _S.QUEUED: frozenset({_S.ASSIGNED, _S.IN_PROGRESS, _S.CANCELLED}),
    _S.ASSIGNED: frozenset({_S.IN_PROGRESS, _S.QUEUED, _S.NEEDS_REASSIGNMENT, _S.CANCELLED}),
    # Back to QUEUED: its run was lost or evicted, which is nobody's fault.
    _S.IN_PROGRESS: frozenset(
        {_S.READY_FOR_REVIEW, _S.REJECTED, _S.QUEUED, _S.NEEDS_REASSIGNMENT, _S.CANCELLED}
    ),
    _S.READY_FOR_REVIEW: frozenset({_S.APPROVED, _S.REJECTED, _S.CANCELLED}),
    _S.REJECTED: frozenset(
        {_S.QUEUED, _S.ASSIGNED, _S.IN_PROGRESS, _S.NEEDS_REASSIGNMENT, _S.CANCELLED}
    ),
    _S.NEEDS_REASSIGNMENT: frozenset({_S.QUEUED, _S.ASSIGNED, _S.CANCELLED}),
    _S.APPROVED: frozenset(),
    _S.CANCELLED: frozenset(),
}


JUDGED_AGAIN = frozenset({_S.IN_PROGRESS, _S.QUEUED, _S.READY_FOR_REVIEW, _S.REJECTED})
"""Where a person may ask that the patch is judged once more (unless a run is under way)."""


def legal(from_: TaskStatus, to: TaskStatus) -> bool:
    """Whether a task may move so."""
    return to in MOVES[from_]


@dataclass(frozen=True, slots=True)
class VerdictEffect:
    """What a verdict does to the task (`status` None: it stays), to its author, and next."""

    status: TaskStatus | None
    counts_as_retry: bool = False
    judge_again: bool = False
    needs_human: bool = False


def effect_of(verdict: Verdict, *, last: bool) -> VerdictEffect:
    """The effect of `verdict`; `last`: this patch has been judged as often as it may be.

    Only `failed` and `tampered` count against the author; what the platform could not decide is
    judged again, never executed again, and in the end goes to a person.
    """
    if verdict is Verdict.PASSED:
        return VerdictEffect(TaskStatus.READY_FOR_REVIEW)
    if verdict in (Verdict.FAILED, Verdict.TAMPERED):
        return VerdictEffect(TaskStatus.REJECTED, counts_as_retry=True)
    return VerdictEffect(None, needs_human=True) if last else VerdictEffect(None, judge_again=True)

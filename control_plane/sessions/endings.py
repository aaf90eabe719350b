"""What the end of a session's sandbox says of the session. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sandboxes.spec import Ended, SandboxOutcome


class End(StrEnum):
    """Whom the end is laid to."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The agent's own."""
    CANCELLED = "cancelled"
    LOST = "lost"
    """The platform's."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session ended, and why."""

    end: End
    cause: str = ""


_WHY = {
    Ended.OOM: "ran out of memory",
    Ended.DEADLINE: "did not end before its deadline",
    Ended.TERMINATED: "was terminated",
    Ended.QUOTA: "ran out of its quota",
    Ended.UNSCHEDULABLE: "could not be scheduled",
    Ended.IMAGE_MISSING: "has no image",
    Ended.LOST: "was lost by the engine",
    Ended.EVICTED: "was evicted",
    Ended.PREEMPTED: "was preempted",
}
_AGENTS_OWN = {Ended.COMPLETED, Ended.OOM, Ended.DEADLINE}
"""Ends that say something of the agent; all others say something of the platform."""
_RUNNERS_CODES = {0, 124, 125}
"""What PID 1 exits with by itself (docs/runner.md).

Code inside its namespace can neither kill it nor have it end by TERM, so any other end came from
outside; ours is `Ended.TERMINATED`.
"""


def session_end(
    outcome: SandboxOutcome, result: Mapping[str, Any], *, cancel_requested: bool
) -> SessionEnd:
    """The end of the session. `result` is the runner's word, taken only against the agent."""
    if cancel_requested or outcome.ended is Ended.TERMINATED:
        return SessionEnd(End.CANCELLED, "cancelled by request")
    if outcome.ended not in _AGENTS_OWN:
        why = f"the execution {_WHY[outcome.ended]}: {outcome.detail}; queue the task again"
        return SessionEnd(End.LOST, why)
    if outcome.ended is not Ended.COMPLETED:
        return SessionEnd(End.FAILURE, f"the agent {_WHY[outcome.ended]}")
    if outcome.exit_code not in _RUNNERS_CODES:
        why = f"the runner itself was ended from outside (exit code {outcome.exit_code})"
        return SessionEnd(End.LOST, f"{why}; queue the task again")
    return _by_its_own_word(outcome.exit_code, result)


def _by_its_own_word(exit_code: int | None, result: Mapping[str, Any]) -> SessionEnd:
    outcome, code = result.get("outcome"), result.get("exit_code")
    if outcome == "exited" and code == 0 and exit_code == 0:
        return SessionEnd(End.SUCCESS)
    if outcome is None:
        why = f"the runner left no readable result (exit code {exit_code})"
        return SessionEnd(End.FAILURE, why)
    why = f"the agent's command ended as {str(outcome)[:40]}"
    if code is not None:
        why += f", exit code {code}"
    detail = str(result.get("detail", ""))[:500]
    return SessionEnd(End.FAILURE, f"{why}{': ' + detail if detail else ''}")

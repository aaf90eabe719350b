"""How a container's end is read; pure.

Never by an exit code alone: a command may exit 137 as it likes.
"""

from sandboxes.docker.engine import Container
from sandboxes.docker.records import Ending
from sandboxes.remains import Remains
from sandboxes.spec import Ended, SandboxOutcome, Usage

_MEMORY = "the kernel killed a process of it for memory"
_KILL_CODE = 137


def outcome_of(
    found: Container | None, ending: Ending | None, usage: Usage, remains: Remains
) -> SandboxOutcome:
    """The outcome of a container that is dead; `found` is None if the engine has forgotten it."""
    ended, detail = _ended(found, ending)
    return SandboxOutcome(
        ended=ended,
        exit_code=found.exit_code if found and found.started_at else None,
        detail=detail,
        started_at=found.started_at if found else None,
        finished_at=found.finished_at if found else None,
        usage=usage,
        outputs=remains.outputs,
        refused=remains.refused,
        uncollected=remains.uncollected,
        collected=remains.collected,
    )


def _ended(found: Container | None, ending: Ending | None) -> tuple[Ended, str]:
    if found is None:
        return Ended.LOST, "the engine has forgotten the container: somebody removed it"
    if found.started_at is None:
        return Ended.LOST, "the container was never started"
    if ending and not _finished_before(found, ending):
        return ending.ended, f"{ending.detail}; {_MEMORY}" if found.oom_killed else ending.detail
    if found.oom_killed:
        return (
            Ended.OOM,
            _MEMORY,
        )  # whatever its exit code: what a killed child left undone is not a success
    if found.exit_code == _KILL_CODE:
        return (
            Ended.COMPLETED,
            "exit code 137 without our kill: the command's own, or somebody outside killed it",
        )
    return Ended.COMPLETED, found.error


def _finished_before(found: Container, ending: Ending) -> bool:
    """It ended by itself while we made up our mind."""
    return found.finished_at is not None and found.finished_at < ending.at

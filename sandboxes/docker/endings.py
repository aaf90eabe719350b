"""How a container's end is read; pure.

Never by an exit code alone: a command may exit 137 as it likes.
"""

from datetime import datetime

from sandboxes.docker.engine import Container
from sandboxes.docker.records import Ending
from sandboxes.remains import Remains
from sandboxes.spec import Ended, SandboxOutcome, Usage

_MEMORY = "the kernel killed a process of it for memory"
_KILL_CODE, _TERM_CODE, _UNKNOWN_CODE = 137, 143, 255
"""The last one is what an engine says of a container whose end it has not seen."""


def unasked(found: Container | None, ending: Ending | None) -> bool:
    """Whether it ended as one that was told to, and not by us."""
    codes = {_KILL_CODE, _TERM_CODE, _UNKNOWN_CODE}
    return found is not None and ending is None and found.exit_code in codes


def outcome_of(
    found: Container | None,
    ending: Ending | None,
    usage: Usage,
    remains: Remains,
    engine_away_at: datetime | None = None,
) -> SandboxOutcome:
    """The outcome of a container that is dead; `found` is None if the engine has forgotten it.

    An engine without live restore ends its containers when it goes, or when it is back.
    """
    ended, detail = _ended(found, ending)
    cut_off = unasked(found, ending) or _never_ran(found, ending, remains)
    if ended is Ended.COMPLETED and cut_off and _began(found, engine_away_at):
        ended, detail = Ended.LOST, "the engine was away meanwhile, and ended its containers"
    return SandboxOutcome(
        ended=ended,
        exit_code=found.exit_code if found and found.started_at else None,
        detail=detail,
        started_at=_start(found) if found else None,
        finished_at=found.finished_at if found else None,
        usage=usage,
        outputs=remains.outputs,
        refused=remains.refused,
        uncollected=remains.uncollected,
        collected=remains.collected,
    )


def _start(found: Container) -> datetime | None:
    """When it began: never after its end, although the engine may note a quick end first."""
    times = [one for one in (found.started_at, found.finished_at) if one is not None]
    return min(times) if found.started_at else None


def _never_ran(found: Container | None, ending: Ending | None, remains: Remains) -> bool:
    """Whether nothing is there of what every command leaves, and its code is none of ours.

    An engine that goes while it starts a container may leave it without what it starts from.
    """
    return found is not None and ending is None and found.exit_code != 0 and not remains.outputs


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


def _began(found: Container | None, before: datetime | None) -> bool:
    return bool(found and found.started_at and before and found.started_at < before)

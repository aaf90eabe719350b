"""How a command ends: exit codes, and the errors that lead to 2.

No heavy imports: every command loads this.
"""

from quality_gates.model import Verdict

PASSED, FAILED, USAGE_OR_PLATFORM, OTHER_VERDICT = 0, 1, 2, 3


class CliError(Exception):
    """The command cannot go on; the message says what to do next. Exit code 2."""

    kind = "platform"


class UsageError(CliError):
    """The caller must change the command or the repository."""

    kind = "usage"


class ServerError(CliError):
    """The control plane refused or did not answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def unforeseen(error: BaseException) -> CliError:
    """What nobody has written a sentence for, in one; the first of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
    return CliError(
        f"nothing was judged: {what}; try again with --verbose, which shows where it came from"
    )


def exit_code(verdict: str | None) -> int:
    """0 passed, 1 failed, 3 any other verdict.

    A run that ended without one is a failure of the platform.
    """
    if verdict is None:
        return USAGE_OR_PLATFORM
    return {Verdict.PASSED: PASSED, Verdict.FAILED: FAILED}.get(Verdict(verdict), OTHER_VERDICT)

"""One command of a judge's plan.

Standard library only: it is packed with the runner, which executes it.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One command of a plan.

    `argv[0]` is absolute and `environ` is the whole environment: nothing is inherited.
    """

    name: str
    argv: tuple[str, ...]
    timeout_s: float
    environ: dict[str, str] = field(default_factory=dict)
    cwd: str = "/tmp"  # noqa: S108 -- the sandbox's private tmpfs, not the host's
    stdout: str | None = None
    """The file under `/out` that takes its standard output; None: it goes to the log."""
    max_output_bytes: int = 64 * 2**20
    after: tuple[str, ...] = ()
    """Names of tools that must have ended first; the others run side by side."""

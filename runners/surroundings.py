"""What a driver finds around it, and how it speaks to the supervisor."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from runners.protocol import ToolResult


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a driver finds around it."""

    workspace: Path
    out: Path
    events_fd: int
    """Where test events go; the supervisor reads the other end."""
    report_fd: int
    """Where the driver speaks to the supervisor; closed on exec, so no tool inherits it."""
    environ: Mapping[str, str]
    """What the supervisor adds to the driver's environment."""

    def report(self, result: ToolResult) -> None:
        """Tell the supervisor how a tool ended."""
        self._say({"tool": asdict(result)})

    def refuse(self, reason: str) -> None:
        """Tell the supervisor that the driver could not start."""
        self._say({"refused": reason[:4000]})

    def explain(self, detail: str) -> None:
        """Tell the supervisor why the exit code is what it is."""
        self._say({"detail": detail[:4000]})

    def _say(self, document: dict[str, object]) -> None:
        os.write(self.report_fd, json.dumps(document).encode() + b"\n")

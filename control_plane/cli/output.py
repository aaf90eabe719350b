"""Where output goes: with `--json` one document on stdout and nothing else there.

Everything for people on stderr otherwise.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rich.console import Console
from rich.live import Live

from control_plane.cli.formats import ReportFormat
from control_plane.cli.show import Progress, plain
from control_plane.cli.timeline import Timeline

_LOOK_S = 0.3


class Output:
    """How one command speaks."""

    def __init__(self, *, as_json: bool, form: ReportFormat | None = None) -> None:
        self.as_json, self.form = as_json, form
        self.people = Console(stderr=True, highlight=False)
        """For progress and remarks, whatever stdout is used for."""
        self.result = Console(highlight=False, stderr=as_json or form is not None)
        """For what was asked for, when people read it."""

    def document(self, document: object) -> None:
        """The one document of `--json`."""
        self.text(json.dumps(document, indent=2) + "\n")

    def text(self, text: str) -> None:
        """What stdout is for. That nobody reads it to its end changes nothing of what was done."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def tell(self, text: str) -> None:
        """A remark on the way."""
        self.people.print(plain(text), markup=False, style="dim", soft_wrap=True)

    @asynccontextmanager
    async def progress(self, timeline: Timeline) -> AsyncIterator[None]:
        """Show the timeline while the body runs: live on a terminal, line by line elsewhere."""
        if self.people.is_terminal:
            with Live(Progress(timeline), console=self.people, refresh_per_second=4):
                yield
            return
        printed: set[int] = set()
        printing = asyncio.create_task(self._keep_printing(timeline, printed))
        try:
            yield
        finally:
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)
            self._print_ended(timeline, printed)

    async def _keep_printing(self, timeline: Timeline, printed: set[int]) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._print_ended(timeline, printed)

    def _print_ended(self, timeline: Timeline, printed: set[int]) -> None:
        ended = [
            (line.ended_at, -line.depth, index, line)
            for index, line in enumerate(timeline.lines)
            if line.ended_at is not None and index not in printed
        ]
        for ended_at, _, index, line in sorted(ended, key=lambda one: one[:3]):
            printed.add(index)
            text = f"{'  ' * line.depth}{line.name}: {line.seconds(ended_at):.1f} s {line.note}"
            self.people.print(plain(text.rstrip()), markup=False, soft_wrap=True)


def records(line: dict[str, Any]) -> None:
    """One NDJSON record on stdout; a closed pipe ends the command quietly."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

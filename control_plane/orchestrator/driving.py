"""One claimed run, driven as far as it goes: level-triggered steps until it ends or must wait."""

import asyncio
from typing import Protocol

from control_plane.orchestrator.lease import Again, Lease
from control_plane.runs.models import Run
from control_plane.runs.rules import TERMINAL, RunKind


class Steps(Protocol):
    """What the runs of one kind do, state by state."""

    async def step(self, run: Run, lease: Lease, cancelled: asyncio.Event, /) -> Run | Again:
        """Do the one next thing and write it down; the run as it is now, or when to look again."""


class RunDriver:
    """Knows which steps a kind of run has. Its `drive` is what a worker calls."""

    def __init__(self, steps: dict[RunKind, Steps]) -> None:
        self._steps = steps

    async def drive(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Again | None:
        """Step until the run has ended (None) or must wait."""
        steps = self._steps[run.kind]
        while run.state not in TERMINAL:
            after = await steps.step(run, lease, cancelled)
            if isinstance(after, Again):
                return after
            run = after
        return None

"""One claimed run, driven as far as it goes: level-triggered steps until it ends or must wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

from control_plane.orchestrator.lease import Again, Lease
from control_plane.repos.git import RepositoryError
from control_plane.runs.models import Run
from control_plane.runs.rules import TERMINAL, RunKind


class Steps(Protocol):
    """What the runs of one kind do, state by state."""

    async def step(self, run: Run, lease: Lease, cancelled: asyncio.Event, /) -> Run | Again:
        """Do the one next thing and write it down; the run as it is now, or when to look again."""


Here = Callable[[UUID, str], Awaitable[None]]
"""Have a repository's commit in this home, wherever it was imported."""


class RunDriver:
    """Knows which steps a kind of run has. Its `drive` is what a worker calls."""

    def __init__(self, steps: dict[RunKind, Steps], here: Here) -> None:
        self._steps, self._here = steps, here

    async def drive(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Again | None:
        """Step until the run has ended (None) or must wait."""
        steps = self._steps[run.kind]
        try:
            await self._here(run.repo_id, run.base_commit)
        except RepositoryError:
            if run.cancel_requested_at is None:  # to be cancelled, a run needs no repository
                raise
        while run.state not in TERMINAL:
            after = await steps.step(run, lease, cancelled)
            if isinstance(after, Again):
                return after
            run = after
        return None

"""A company of our own for a benchmark: queue a change, wait for its end, read when what was."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from control_plane.db.base import new_id
from control_plane.processes.local import Company, open_company
from control_plane.repos.service import import_repository
from control_plane.repos.sources import FromPath
from control_plane.runs.models import Run, RunEvent
from control_plane.runs.service import events_after
from control_plane.sessions.drivers import Driver
from control_plane.settings import Settings
from control_plane.tasks.defaults import default_packet
from control_plane.tasks.service import Submission, latest_runs, submit


@dataclass(frozen=True, slots=True)
class Told:
    """An ended run and its events, by the database's clock."""

    run: Run
    events: tuple[RunEvent, ...]

    def reached(self, state: str) -> datetime:
        """When it came into that state."""
        return next(
            event.at
            for event in self.events
            if event.kind == "state" and event.payload["to"] == state
        )

    def ends(self) -> list[tuple[str, datetime]]:
        """The judge's stages in the order in which they ended."""
        return [
            (event.payload["stage"], event.at)
            for event in self.events
            if event.kind == "stage.ended" and event.payload["stage"] != "execute"
        ]


@dataclass(frozen=True, slots=True)
class Bench:
    """A company and the one repository that it works on."""

    company: Company
    repo_id: UUID
    base_commit: str

    async def run(self, *, patch_sha256: str | None = None, driver: Driver | None = None) -> Told:
        """Queue a task and come back when its first run has ended."""
        services = self.company.services
        submission = Submission(
            repo_id=self.repo_id,
            base_commit=self.base_commit,
            patch_sha256=patch_sha256,
            driver=driver,
            packet=default_packet("PROJ-BENCH", "MOD-BENCH", datetime.now(UTC)).document(),
            test_changes_allowed=True,
            dependency_changes_allowed=True,
        )
        async with services.sessions.begin() as session:
            task = await submit(session, submission, "bench")
            run = (await latest_runs(session, [task.id]))[task.id]
        self.company.worker.poke()
        events: list[RunEvent] = []
        while True:
            after = events[-1].seq if events else 0
            run, new, ended = await events_after(services.sessions, run.id, after, 500, 60.0)
            events += new
            if ended:
                return Told(run, tuple(events))
            await asyncio.sleep(0.2)  # our looking must not take from what is looked at


@asynccontextmanager
async def open_bench(home: Path, repository: Path, **settings: Any) -> AsyncIterator[Bench]:  # noqa: ANN401 -- Settings' own
    """A company over `home`, with `repository` imported."""
    async with open_company(Settings(home=home, **settings)) as company:
        services = company.services
        row, commit = await import_repository(
            services.sessions,
            services.mirrors,
            services.blobs,
            f"bench-{new_id().hex}",
            FromPath(repository),
        )
        yield Bench(company, row.id, commit)

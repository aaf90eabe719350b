"""The whole company in this process, for tests: real database, real engine, real tools."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from control_plane.db.finding import NotFound
from control_plane.gate_reports.service import read_report, report_of_run
from control_plane.processes.local import Company, open_company
from control_plane.repos.models import Repo
from control_plane.repos.service import import_repository
from control_plane.repos.sources import FromArchive, FromPath
from control_plane.runs.models import Run
from control_plane.runs.service import events_after
from control_plane.sessions.drivers import driver_from_json
from control_plane.settings import Settings
from control_plane.tasks.defaults import default_packet
from control_plane.tasks.service import Submission, latest_runs, submit
from quality_gates.model import GatePolicy, Verdict
from quality_gates.report import to_json


@dataclass(frozen=True, slots=True)
class Judged:
    """A change that has been judged, or whose session left nothing to judge."""

    run: Run
    """The judge run; the session, if that was the end of it."""
    verdict: Verdict | None
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TestCompany:
    """Takes a change and comes back with its report."""

    __test__ = False

    company: Company

    async def judge(
        self,
        repo: Path | UUID,
        base: str,
        driver: Mapping[str, Any],
        policy: GatePolicy,
        **options: Any,
    ) -> Judged:
        """Queue the change as a task whose packet asks for `policy`, and wait for its run's end.

        `repo` is a directory, or the id of a repository that has been imported.
        Copies of a repository with the same `base` commit are one repository here, so that what is
        made of base is made once.
        """
        run = await self.ended(await self.submit(repo, base, driver, policy, **options))
        judged = await self.newest(run.task_id)
        if judged.id != run.id:  # the session's patch is judged in a run of its own
            run = await self.ended(judged)
        return Judged(run, run.verdict, await self.report(run))

    async def ended(self, run: Run) -> Run:
        """The run at its end."""
        after = 0
        while True:
            run, events, ended = await events_after(
                self.company.services.sessions, run.id, after, 500, 10.0
            )
            after = events[-1].seq if events else after
            if ended:
                return run

    async def newest(self, task_id: UUID) -> Run:
        """The newest run of a task."""
        async with self.company.services.sessions() as session:
            return (await latest_runs(session, [task_id]))[task_id]

    async def submit(
        self,
        repo: Path | UUID,
        base: str,
        driver: Mapping[str, Any],
        policy: GatePolicy,
        **options: Any,
    ) -> Run:
        services = self.company.services
        repo_id = repo
        if isinstance(repo, Path):
            row, _ = await self.imported(f"test-{base}", FromPath(repo))
            repo_id = row.id
        change: dict[str, Any] = {}
        if driver["kind"] == "patch":
            change["patch_sha256"] = (await services.blobs.put(driver["patch"])).sha256
        else:
            change["driver"] = driver_from_json(driver)
        submission = Submission(
            repo_id=repo_id,
            base_commit=await services.mirrors.resolve(repo_id.hex, base),
            **change,
            packet=packet_for(policy),
            test_changes_allowed=policy.test_changes_allowed,
            dependency_changes_allowed=policy.dependency_changes_allowed,
            **options,
        )
        async with services.sessions.begin() as session:
            task = await submit(session, submission, "test")
            run = (await latest_runs(session, [task.id]))[task.id]
        self.company.worker.poke()
        return run

    async def imported(self, key: str, source: FromPath | FromArchive) -> tuple[Repo, str]:
        """The repository, and the commit of its HEAD."""
        services = self.company.services
        return await import_repository(
            services.sessions, services.mirrors, services.blobs, key, source
        )

    async def report(self, run: Run) -> dict[str, Any]:
        """As the API gives it; empty where there is none."""
        services = self.company.services
        try:
            async with services.sessions() as session:
                found = await report_of_run(session, run.id)
        except NotFound:
            return {}
        if found.page is not None:
            return to_json(found.page)
        return await read_report(services.blobs, str(found.sha256))


def packet_for(policy: GatePolicy) -> dict[str, Any]:
    """The default packet, asking for `policy`."""
    document = default_packet("PROJ-CHECK", "MOD-CHECK", datetime.now(UTC)).document()
    document["task_definition"]["task_type"] = policy.task_type.value
    document["quality_gates"] |= {
        "linting_rules": policy.linting_rules,
        "coverage_minimum": policy.coverage_minimum,
        "security_level": policy.security_level.value,
    }
    return document


@contextlib.contextmanager
def fresh_home(prefix: str) -> Any:
    """A home that PostgreSQL's user can pass through, removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix=prefix))
    os.chmod(home, 0o711)  # noqa: PTH101, S103 -- PostgreSQL runs as another user; what is private below stays so
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextlib.asynccontextmanager
async def test_company(**settings: Any) -> AsyncIterator[TestCompany]:
    """A company over a home of its own."""
    with fresh_home("vsc-company-") as home:
        async with open_company(Settings(home=home, **settings)) as company:
            yield TestCompany(company)


test_company.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test

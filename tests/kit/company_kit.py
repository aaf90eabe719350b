"""The whole company in this process, for tests: real database, real engine, real tools."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from control_plane.processes.local import Company, open_company
from control_plane.repos.models import Repo
from control_plane.repos.schemas import FromArchive, FromPath
from control_plane.repos.service import import_repository
from control_plane.runs.models import Run
from control_plane.runs.service import events_after
from control_plane.settings import Settings
from control_plane.tasks.defaults import default_packet
from control_plane.tasks.service import Submission, latest_runs, submit
from quality_gates.model import GatePolicy, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A run that has ended."""

    run: Run
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
        """Queue the change as a task with a packet that asks for `policy`, and wait for the end of its run.

        `repo` is a directory, or the id of a repository that has been imported.
        Copies of a repository with the same `base` commit are one repository here, so that what is
        made of base is made once.
        """
        run = await self.submit(repo, base, driver, policy, **options)
        after = 0
        while True:
            run, events, ended = await events_after(
                self.company.services.sessions, run.id, after, 500, 10.0
            )
            after = events[-1].seq if events else after
            if ended:
                return Judged(run, run.verdict, await self.report(run))

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
            row, _ = await self.imported(f"test-{base}", FromPath(kind="path", path=str(repo)))
            repo_id = row.id
        if driver["kind"] == "patch":
            kept = await services.blobs.put(driver["patch"])
            driver = {"kind": "patch", "sha256": kept.sha256}
        submission = Submission(
            repo_id=repo_id,
            base_commit=await services.mirrors.resolve(repo_id.hex, base),
            driver=driver,
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
        if run.report_sha256 is None:
            return {}
        report: dict[str, Any] = json.loads(
            await self.company.services.blobs.read(run.report_sha256, 2**28)
        )
        return report


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

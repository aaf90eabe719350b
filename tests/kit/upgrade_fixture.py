"""Makes the fixture of an upgrade: a database with rows in every table, and its blobs.

Real runs over the in-memory engine make what runs make; rows of tables that nothing writes yet are
laid down. `scripts/upgrade-fixture` runs it, once before a schema that was released is migrated.
"""

import asyncio
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from company_kit import fresh_home
from fleet_kit import BREAKS, PASSES, Fleet, a_fleet, launched
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from control_plane.agents.models import Agent
from control_plane.agents.rules import Role
from control_plane.auth.service import issue
from control_plane.db.embedded import embedded
from control_plane.db.migrate import migrate, newest
from control_plane.db.programs import installed
from control_plane.escalations.models import ContextEscalation
from control_plane.escalations.rules import IssueType
from control_plane.gate_reports.models import FindingRow, GateReportRow
from control_plane.judgements.models import Judgement
from control_plane.projects.models import Project
from control_plane.repos.models import EnvironmentRow, Snapshot
from control_plane.runs.models import LogChunk, Run
from control_plane.sessions.drivers import CommandDriver
from control_plane.sessions.models import AgentSession
from control_plane.sessions.service import queue_session
from control_plane.tables import metadata
from control_plane.tasks.models import Task
from control_plane.traces.models import Trace, TraceStep
from control_plane.traces.rules import ActionType
from quality_gates.model import Severity

FOLDER = Path(__file__).parents[1] / "fixtures" / "upgrades"
DUMP, BLOBS = "database.sql", "blobs"
_NOT_HERE = re.compile(r"/tmp/|/root/|/home/|/work/|/usr/|\\\\restrict (?!vsc)")
"""What no dump may name: places of the machine that made it."""


async def make(folder: Path) -> None:
    """Write the fixture of the newest schema into `folder`."""
    with fresh_home("vsc-upgrade-") as home:
        async with embedded(home, durable=False) as url:
            await migrate(url)
            async with a_fleet(url) as fleet:
                await _lived_in(fleet)
                dump = await asyncio.to_thread(_dumped, url)
                blobs = await _blobs(fleet)
                places = {
                    str(fleet.repo): "/srv/repositories/toy",
                    str(fleet.engine.home): "/srv/engine",
                    str(fleet.home): "/srv/vsc",
                    socket.gethostname() + ":": "old-host:",
                }
    _write(folder, _elsewhere(dump, places), blobs)


def _write(folder: Path, dump: str, blobs: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / BLOBS).mkdir(parents=True)
    (folder / DUMP).write_text(dump, encoding="utf-8")
    for sha256, content in blobs.items():
        (folder / BLOBS / sha256).write_bytes(content)


async def _lived_in(fleet: Fleet) -> None:
    process = fleet.start()
    _, passes = await fleet.submit(PASSES)
    broken, breaks = await fleet.submit(f"{PASSES}; {BREAKS}")
    cancelled, stops = await fleet.submit("sleep 600")
    await fleet.cancel(cancelled)
    await fleet.ended(passes, breaks, stops, await _document(fleet, passes), within_s=600)
    _, lives = await fleet.submit("echo words; sleep 600")
    await fleet.until(lives, launched("execute"), 600)
    async with asyncio.timeout(600):
        while not await _rows(fleet, LogChunk.__tablename__):  # noqa: ASYNC110 -- rows of another process
            await asyncio.sleep(0.1)
    fleet.killed(process)
    await _laid_down(fleet, broken)


async def _document(fleet: Fleet, like: Run) -> Run:
    async with fleet.sessions.begin() as session:
        run = await queue_session(
            session,
            repo_id=like.repo_id,
            base_commit=like.base_commit,
            deadline_s=600.0,
            driver=CommandDriver(("/bin/sh", "-c", "echo '{\"n\": 1}' > /out/document.json")),
            output_schema={"type": "object", "required": ["n"]},
        )
        return await session.get_one(Run, run)


async def _laid_down(fleet: Fleet, task: Task) -> None:
    """Rows of what no code makes yet."""
    async with fleet.sessions.begin() as session:
        await issue(session, "a-program")
        lead = Agent(key="LEAD-1", role=Role.TEAM_LEAD, model_config={"model": "a model"})
        session.add(lead)
        await session.flush()
        agent = Agent(
            key="DEV-1",
            role=Role.MID_DEV,
            specialization="Python",
            total_cost_incurred=Decimal("1.25"),
            reports_to=lead.id,
        )
        project = (await session.scalars(select(Project).limit(1))).one()
        report = (await session.scalars(select(GateReportRow).limit(1))).one()
        trace = Trace(key="TRACE-1", project_id=project.id, task_id=task.id, root_agent_id=lead.id)
        finding = FindingRow(
            gate_report_id=report.id,
            rule="F401",
            severity=Severity.LOW,
            path="toy/__init__.py",
            line=1,
            message="`os` imported but unused",
            fingerprint="f" * 64,
            new=True,
            blocks=False,
        )
        session.add_all([agent, trace, finding])
        await session.flush()
        session.add_all(
            [
                TraceStep(
                    trace_id=trace.id,
                    step_number=0,
                    agent_id=agent.id,
                    action_type=ActionType.THOUGHT,
                    payload={"text": "what now?"},
                ),
                ContextEscalation(
                    task_id=task.id,
                    from_agent_id=agent.id,
                    to_agent_id=lead.id,
                    issue_type=IssueType.AMBIGUITY,
                    question="Which sum?",
                ),
            ]
        )
    empty = [table for table in metadata.tables if not await _rows(fleet, table)]
    assert empty == [], f"no rows in {empty}: lay some down"


async def _rows(fleet: Fleet, table: str) -> int:
    async with fleet.sessions() as session:
        query = select(func.count()).select_from(metadata.tables[table])
        return await session.scalar(query) or 0


async def _blobs(fleet: Fleet) -> dict[str, bytes]:
    """What people read, and what a new run starts from."""
    columns = (
        Judgement.report_sha256,
        Judgement.patch_sha256,
        AgentSession.patch_sha256,
        AgentSession.document_sha256,
        Snapshot.archive_sha256,
    )
    async with fleet.sessions() as session:
        named = {one for column in columns for one in await session.scalars(select(column)) if one}
        for layers in await session.scalars(select(EnvironmentRow.layers)):
            named.update(layers)
    return {sha256: await fleet.blobs.read(sha256, 2**20) for sha256 in sorted(named)}


def _dumped(url: str) -> str:
    found = make_url(url)
    libpq = found.set(drivername="postgresql").render_as_string(hide_password=False)
    options = ["--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=50"]
    done = subprocess.run(
        [installed().bin / "pg_dump", *options, "--restrict-key=vsc", libpq],
        capture_output=True,
        text=True,
        check=True,
    )
    # psql's own commands: the dump is run by whoever speaks SQL
    return re.sub(r"^\\(un)?restrict .*\n", "", done.stdout, flags=re.MULTILINE)


def _elsewhere(dump: str, places: Mapping[str, str]) -> str:
    for here, there in places.items():
        dump = dump.replace(here, there)
    left = sorted({line[:200] for line in dump.splitlines() if _NOT_HERE.search(line)})
    assert left == [], left
    return dump


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / newest()
    asyncio.run(make(target))
    print(target)

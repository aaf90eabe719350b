"""One home, one database, one in-memory engine, and control planes that come and go."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import control_plane_process
from cheat_cases import git
from company_kit import fresh_home, packet_for
from engine_kit import EngineProcess, memory_engine, played_image
from sqlalchemy import select, text

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.cli.address import address_file
from control_plane.cli.client import Client
from control_plane.cli.connect import connected
from control_plane.db.engine import Sessions, new_engine, session_factory
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.service import import_repository
from control_plane.repos.sources import FromPath
from control_plane.runs.models import Run, RunEvent, Sandbox
from control_plane.runs.rules import TERMINAL
from control_plane.sessions.drivers import CommandDriver
from control_plane.settings import Settings
from control_plane.tasks.models import Task
from control_plane.tasks.service import Submission, cancel, latest_runs, submit
from quality_gates.model import GatePolicy, TaskType

REFACTOR = GatePolicy(task_type=TaskType.REFACTOR, coverage_minimum=0.0)
TOY = {
    "toy/__init__.py": '"""A toy."""\n\n\ndef add(a, b):\n    """Sum."""\n    return a + b\n',
    "tests/test_add.py": '"""Sums."""\n\nfrom toy import add\n\n\ndef test_add():\n'
    '    """A sum."""\n    assert add(1, 2) == 3\n',
}
PASSES = "echo '# noted' >> toy/__init__.py"
BREAKS = "sed -i 's/a + b/a - b/' toy/__init__.py"
_PROCESS = Path(control_plane_process.__file__)
_VSC = [sys.executable, "-c", "from control_plane.cli.main import main; main()"]
_SETTINGS = {
    "VSC_LEASE_S": "3",
    "VSC_POLL_S": "0.2",
    "VSC_WORKERS": "8",
    "VSC_SANDBOXES": "4",
    "VSC_JUDGE_AGAIN": "0",
}


@dataclass
class Fleet:
    """What outlives the control planes."""

    home: Path
    url: str
    sessions: Sessions
    engine: EngineProcess
    repo: Path
    logs: Path
    blobs_at: Path | None = None
    """None: in the home."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mirrors = Mirrors(self.home / "mirrors")
        self.blobs = ThreadedBlobs(DirectoryBlobs(self.blobs_at or self.home / "blobs"))

    def settings(self) -> Settings:
        """Those of its control planes, as far as they say where things are."""
        return Settings(
            home=self.home,
            database_url=self.url,
            engine=f"memory:{self.engine.home}",
            blobs=str(self.blobs_at) if self.blobs_at else None,
        )

    @property
    def environ(self) -> dict[str, str]:
        """What a process over all this is given."""
        ours = {
            "VSC_HOME": str(self.home),
            "VSC_DATABASE_URL": self.url,
            "VSC_ENGINE": f"memory:{self.engine.home}",
        }
        if self.blobs_at is not None:
            ours["VSC_BLOBS"] = str(self.blobs_at)
        return {**os.environ, **_SETTINGS, **ours}

    def start(self, *, serves: bool = False, **environ: str) -> subprocess.Popen[bytes]:
        """A control plane more; its words are in `log_of`. With `serves` it is `vsc up`."""
        with (self.logs / str(len(self.processes))).open("wb") as log:
            process = subprocess.Popen(
                [*_VSC, "up", "--port", "0"] if serves else [sys.executable, str(_PROCESS)],
                env={**self.environ, **environ},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        """What it has said."""
        return (self.logs / str(self.processes.index(process))).read_text()

    @contextlib.asynccontextmanager
    async def client(self, process: subprocess.Popen[bytes]) -> AsyncIterator[Client]:
        """A client of the API of one that serves."""
        await self.at_work(process)
        address = address_file(self.home).read_text().strip()
        settings = Settings(home=self.home)
        async with connected(settings, address, None, in_process=None) as connection:
            yield connection.client

    async def at_work(self, process: subprocess.Popen[bytes]) -> None:
        """Until it has come up; before that, no signal is handled."""
        served = address_file(self.home)
        async with asyncio.timeout(60):
            while "at work" not in self.log_of(process) and not served.exists():
                assert process.poll() is None, self.log_of(process)
                await asyncio.sleep(0.05)

    async def submit(
        self, script: str, policy: GatePolicy = REFACTOR, **options: Any
    ) -> tuple[Task, Run]:
        """A task whose agent is a shell script."""
        driver = CommandDriver(("/bin/sh", "-euc", script))
        return await self._submitted(policy, driver=driver, **options)

    async def submit_patch(self, patch: bytes, policy: GatePolicy = REFACTOR) -> tuple[Task, Run]:
        """A task with a change that is there already."""
        return await self._submitted(policy, patch_sha256=(await self.blobs.put(patch)).sha256)

    async def _submitted(self, policy: GatePolicy, **change: Any) -> tuple[Task, Run]:
        source = FromPath(self.repo)
        row, head = await import_repository(self.sessions, self.mirrors, self.blobs, "toy", source)
        submission = Submission(
            repo_id=row.id, base_commit=head, packet=packet_for(policy), **change
        )
        async with self.sessions.begin() as session:
            task = await submit(session, submission, "test")
            return task, (await latest_runs(session, [task.id]))[task.id]

    async def cancel(self, task: Task) -> None:
        async with self.sessions.begin() as session:
            await cancel(session, await session.get_one(Task, task.id), "test")

    async def until(
        self, run: Run, condition: Callable[[Run, list[Sandbox]], bool], within_s: float = 120.0
    ) -> tuple[Run, list[Sandbox]]:
        """The newest run of its task, and the sandboxes of all of them, when they are as wanted."""
        until = time.monotonic() + within_s
        while True:
            runs, boxes = await self._rows_of(run)
            if condition(runs[-1], boxes):
                return runs[-1], boxes
            assert time.monotonic() < until, await self._told(runs, boxes)
            await asyncio.sleep(0.05)

    async def until_over(self, name: str, within_s: float = 60.0) -> None:
        """Until the engine says that the sandbox has ended, whoever may look after it."""
        async with asyncio.timeout(within_s):
            while True:
                known = (await self.engine.ask("all"))["sandboxes"]
                if not any(one["name"] == name and one["state"] == "running" for one in known):
                    return
                await asyncio.sleep(0.2)

    async def _rows_of(self, run: Run) -> tuple[list[Run], list[Sandbox]]:
        async with self.sessions() as session:
            ours = select(Run).where(Run.task_id == run.task_id).order_by(Run.created_at)
            runs = list(await session.scalars(ours))
            query = select(Sandbox).where(Sandbox.run_id.in_([one.id for one in runs]))
            return runs, list(await session.scalars(query.order_by(Sandbox.n)))

    async def _told(self, runs: list[Run], boxes: list[Sandbox]) -> str:
        """What is the matter with runs that do not end: they, what they wait for, their sandboxes.

        Their processes say where they are, in their logs.
        """
        for process in self.processes:
            if process.poll() is None and str(_PROCESS) in process.args:
                process.send_signal(signal.SIGUSR1)
                await asyncio.sleep(0.5)
                process.send_signal(signal.SIGUSR2)
        await asyncio.sleep(1)
        async with self.sessions() as session:
            wanted = [one.waiting_for for one in runs if one.waiting_for is not None]
            children = list(await session.scalars(select(Run).where(Run.id.in_(wanted))))
            query = select(RunEvent).where(RunEvent.run_id.in_([*wanted, *(r.id for r in runs)]))
            events = list(await session.scalars(query.order_by(RunEvent.at)))
        return "\n".join(
            [
                *(
                    f"{one.kind} {one.id} is {one.state}, held by {one.lease_owner} until"
                    f" {one.lease_until}, next at {one.next_action_at}, claims {one.claims},"
                    f" waits for {one.waiting_for}, {one.cause!r}"
                    for one in [*runs, *children]
                ),
                *(f"{one.name} is {one.state}" for one in boxes),
                *(f"{one.at} {one.run_id} {one.kind} {one.payload}" for one in events),
            ]
        )

    async def ended(self, *runs: Run, within_s: float = 120.0) -> list[Run]:
        """The last runs of their tasks, when all have ended: sessions or judgements."""
        async with asyncio.timeout(within_s):
            return [(await self.until(run, is_ended, within_s))[0] for run in runs]

    async def idle_transactions(self) -> int:
        """Sessions of the database that hold a transaction open and do nothing."""
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
        async with self.sessions() as session:
            return int((await session.execute(text(query))).scalar_one())

    def killed(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    async def end(self, process: subprocess.Popen[bytes]) -> int:
        """SIGTERM, and how it then ended."""
        await self.at_work(process)
        process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(process.wait, 60)


def is_ended(run: Run, _: list[Sandbox]) -> bool:
    return run.state in TERMINAL


def launched(stage: str) -> Callable[[Run, list[Sandbox]], bool]:
    """A sandbox of that stage lives."""
    return lambda _, boxes: any(box.stage == stage and box.state == "LAUNCHED" for box in boxes)


def toy_repository(folder: Path, files: Mapping[str, str] = TOY) -> Path:
    """A small project, committed."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "base")
    return folder


@contextlib.asynccontextmanager
async def a_fleet(url: str) -> AsyncIterator[Fleet]:
    """A fleet over that database; its control planes and its engine end with it."""
    with tempfile.TemporaryDirectory() as scratch:
        async with _fleet(url, Path(scratch), "logs") as fleet:
            yield fleet


@contextlib.asynccontextmanager
async def two_fleets(url: str) -> AsyncIterator[tuple[Fleet, Fleet]]:
    """Two homes with an engine each, as on two machines: they share the database and the blobs."""
    with tempfile.TemporaryDirectory() as scratch:
        blobs = Path(scratch) / "blobs"
        async with (
            _fleet(url, Path(scratch), "here", blobs) as here,
            _fleet(url, Path(scratch), "there", blobs) as there,
        ):
            yield here, there


@contextlib.asynccontextmanager
async def _fleet(
    url: str, scratch: Path, name: str, blobs_at: Path | None = None
) -> AsyncIterator[Fleet]:
    image, repo, logs = scratch / "image", scratch / "toy", scratch / name
    logs.mkdir()
    if not image.exists():
        played_image(image)
        toy_repository(repo)
    engine = new_engine(url)
    with fresh_home("vsc-fleet-") as home, memory_engine({"python": image}) as sandboxes:
        fleet = Fleet(home, url, session_factory(engine), sandboxes, repo, logs, blobs_at)
        try:
            yield fleet
        finally:
            for process in fleet.processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    fleet.killed(process)
            await engine.dispose()

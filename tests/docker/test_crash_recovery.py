"""`kill -9` of the control plane at each state of a run and around each write (faults F01-F12).

The instant is exact: a trigger of this test makes the control plane wait for a lock inside the very
transaction that would write the next thing. While it hangs there, it is killed; the transaction is
gone, what it did outside the database is not.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import control_plane_process
import psycopg
import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from control_plane.audit.service import first_broken_line
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.embedded import embedded
from control_plane.db.engine import new_engine, session_factory
from control_plane.db.migrate import migrate
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.service import import_repository
from control_plane.repos.sources import FromPath
from control_plane.runs.models import LogChunk, Run, RunEvent, Sandbox
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState
from control_plane.sessions.drivers import CommandDriver
from control_plane.sites.service import join
from control_plane.tasks.models import Task
from control_plane.tasks.rules import TaskStatus
from control_plane.tasks.service import Submission, submit
from quality_gates.model import Verdict
from sandboxes.docker.local import connect, engine_id

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

LOCK = 4242
PROCESS = Path(control_plane_process.__file__)
SCRIPT = """
cat >> src/toy/__init__.py <<'END'


def double(a):
    \"\"\"Twice.\"\"\"
    return a * 2
END
cat > tests/test_double.py <<'END'
from toy import double


def test_double():
    assert double(2) == 4
END
"""

# (table, when the trigger fires): what the control plane is about to write when it is killed.
INSTANTS = {
    "leaving QUEUED": (
        "runs",
        "UPDATE",
        "OLD.kind = 'session' AND OLD.state = 'QUEUED' AND NEW.state <> OLD.state",
    ),
    "leaving HYDRATING": (
        "runs",
        "UPDATE",
        "OLD.kind = 'session' AND OLD.state = 'HYDRATING' AND NEW.state <> OLD.state",
    ),
    "planning the execution": ("sandboxes", "INSERT", "NEW.stage = 'execute'"),
    "launched, not recorded": (
        "sandboxes",
        "UPDATE",
        "NEW.stage = 'execute' AND NEW.state = 'LAUNCHED'",
    ),
    "ended, not recorded": ("sandboxes", "UPDATE", "NEW.stage = 'execute' AND NEW.state = 'ENDED'"),
    "destroyed, not recorded": (
        "sandboxes",
        "UPDATE",
        "NEW.stage = 'execute' AND NEW.state = 'DESTROYED'",
    ),
    "leaving EXECUTING": (
        "runs",
        "UPDATE",
        "OLD.kind = 'session' AND OLD.state = 'EXECUTING' AND NEW.state <> OLD.state",
    ),
    "leaving DEHYDRATING": (
        "runs",
        "UPDATE",
        "OLD.kind = 'session' AND OLD.state = 'DEHYDRATING' AND NEW.state <> OLD.state",
    ),
    "queueing the judge run": ("judgements", "INSERT", "true"),
    "leaving the judge's QUEUED": (
        "runs",
        "UPDATE",
        "OLD.kind = 'judge' AND OLD.state = 'QUEUED' AND NEW.state <> OLD.state",
    ),
    "leaving the judge's HYDRATING": (
        "runs",
        "UPDATE",
        "OLD.kind = 'judge' AND OLD.state = 'HYDRATING' AND NEW.state <> OLD.state",
    ),
    "mid-gate: launched, not recorded": (
        "sandboxes",
        "UPDATE",
        "NEW.stage = 'head' AND NEW.state = 'LAUNCHED'",
    ),
    "mid-gate: ended, not recorded": (
        "sandboxes",
        "UPDATE",
        "NEW.stage = 'static' AND NEW.state = 'ENDED'",
    ),
    "judged, not recorded": ("gate_reports", "INSERT", "true"),
    "leaving VERIFYING": (
        "runs",
        "UPDATE",
        "OLD.kind = 'judge' AND OLD.state = 'VERIFYING' AND NEW.state <> OLD.state",
    ),
}


class Installation:
    """One home with its database; control planes over it come and go."""

    def __init__(self, home: Path, url: str, sessions, install: str) -> None:
        self.home, self.sessions = home, sessions
        self.conninfo = (
            make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        )
        self.install = install

    def start(self) -> subprocess.Popen[bytes]:
        environ = {
            **os.environ,
            "VSC_HOME": str(self.home),
            "VSC_LEASE_S": "3",
            "VSC_POLL_S": "0.5",
        }
        return subprocess.Popen(
            [sys.executable, str(PROCESS)], env=environ, stdout=subprocess.DEVNULL
        )

    async def submit(self, repo: Path) -> Task:
        blobs = ThreadedBlobs(DirectoryBlobs(self.home / "blobs"))
        row, head = await import_repository(
            self.sessions,
            Mirrors(self.home / "mirrors"),
            blobs,
            "toy",
            FromPath(repo),
        )
        driver = CommandDriver(("/bin/sh", "-euc", SCRIPT))
        async with self.sessions.begin() as session:
            submission = Submission(repo_id=row.id, base_commit=head, driver=driver)
            return await submit(session, submission, "test")

    async def ended(self, task: Task) -> list[Run]:
        """The task's runs, when the newest has ended and no other follows."""
        query = select(Run).where(Run.task_id == task.id).order_by(Run.id)
        async with asyncio.timeout(240):
            while True:
                async with self.sessions() as session:
                    runs = list(await session.scalars(query))
                if runs[-1].state in TERMINAL and (
                    runs[-1].kind is RunKind.JUDGE or runs[-1].state is not RunState.FINISHED
                ):
                    return runs
                await asyncio.sleep(0.2)

    def starts(self, since_s: int) -> dict[str, int]:
        """How often the engine has started each of our containers since then."""
        told: dict[str, int] = {}
        filters = {"label": f"vsc.install={self.install}", "event": "start"}
        for event in connect().api.events(
            since=since_s, until=int(time.time()) + 1, decode=True, filters=filters
        ):
            name = event["Actor"]["Attributes"]["name"]
            told[name] = told.get(name, 0) + 1
        return told

    def left_behind(self) -> list[str]:
        """Containers and mounts that still carry our name."""
        containers = connect().containers.list(
            all=True, filters={"label": f"vsc.install={self.install}"}
        )
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [one.name for one in containers] + [
            mount for mount in mounts if f"vsc-{self.install}-" in mount
        ]


@pytest.fixture(scope="module")
async def installation():
    home = Path(tempfile.mkdtemp(prefix="vsc-crash-"))
    os.chmod(home, 0o711)  # noqa: PTH101, S103 -- PostgreSQL runs as another user; what is private below stays so
    try:
        async with embedded(home, durable=False) as url:
            await migrate(url)
            engine = new_engine(url)
            sessions = session_factory(engine)
            async with sessions.begin() as session:
                site = await join(session, f"docker:{engine_id()}", str(home), 60.0)
            yield Installation(home, url, sessions, site.name)
            await engine.dispose()
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A small project, committed."""
    repo = tmp_path_factory.mktemp("toy")
    files = {
        "src/toy/__init__.py": 'def add(a, b):\n    """Sum."""\n    return a + b\n',
        "tests/test_add.py": (
            "from toy import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
        ),
        "pyproject.toml": (
            '[project]\nname = "toy"\nversion = "1.0"\n[build-system]\nrequires = ["setuptools"]\n'
        ),
    }
    for name, text in files.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text)
    git = ["git", "-C", str(repo), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *command], check=True)
    return repo


@pytest.mark.parametrize("instant", INSTANTS)
async def test_a_killed_control_plane_loses_nothing_and_doubles_nothing(installation, toy, instant):
    began_s = int(time.time())
    with HeldUp(installation.conninfo, *INSTANTS[instant]) as held:
        task = await installation.submit(toy)
        first = installation.start()
        try:
            await asyncio.to_thread(held.wait)
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
    second = installation.start()
    try:
        runs = await installation.ended(task)
        async with asyncio.timeout(
            60
        ):  # the sandbox of a stage that had ended is cleared by whoever comes next
            while installation.left_behind():  # noqa: ASYNC110 -- the engine has no event for us to wait on
                await asyncio.sleep(0.2)
    finally:
        second.terminate()
        await asyncio.to_thread(second.wait)

    assert [run.kind for run in runs] == [RunKind.SESSION, RunKind.JUDGE]
    assert (runs[1].state, runs[1].verdict) == (RunState.FINISHED, Verdict.PASSED), runs[1].cause
    for run, way in zip(runs, WAYS, strict=True):
        await assert_one_history(installation, task, run, way)
        assert all(
            count == 1 for name, count in installation.starts(began_s).items() if run.id.hex in name
        )


WAYS = (
    ["HYDRATING", "EXECUTING", "DEHYDRATING", "FINISHED"],
    ["HYDRATING", "VERIFYING", "FINISHED"],
)


async def assert_one_history(installation, task, run, way):
    """I1 and I2: each move once, events without gaps; the task where the verdict puts it.

    No row left open.
    """
    async with installation.sessions() as session:
        events = list(
            await session.scalars(
                select(RunEvent).where(RunEvent.run_id == run.id).order_by(RunEvent.seq)
            )
        )
        moves = [event.payload["to"] for event in events if event.kind == "state"]
        rows = list(await session.scalars(select(Sandbox).where(Sandbox.run_id == run.id)))
        chunks = (
            select(func.count())
            .select_from(LogChunk)
            .where(LogChunk.sandbox_id.in_([row.id for row in rows]))
        )

        assert moves == way
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert {row.n for row in rows} == {0}, "nothing was launched again"
        assert {row.state for row in rows} == {SandboxState.DESTROYED}
        assert await session.scalar(chunks) == 0, "the chunks of sealed logs are forgotten"
        assert (await session.get_one(Task, task.id)).status is TaskStatus.READY_FOR_REVIEW
        assert await first_broken_line(session, task.id) is None


class HeldUp:
    """While it lasts, whoever is about to make the given change waits, inside the transaction."""

    def __init__(self, conninfo: str, table: str, operation: str, condition: str) -> None:
        self._conninfo = conninfo
        self._table, self._operation, self._condition = table, operation, condition

    def __enter__(self):
        self._connection = psycopg.connect(self._conninfo, autocommit=True)
        self._connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        self._connection.execute(
            f"CREATE OR REPLACE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF {self._condition} THEN PERFORM pg_advisory_xact_lock({LOCK}); END IF; "
            "RETURN NEW; END $$"
        )
        self._connection.execute(
            f"CREATE TRIGGER held_up BEFORE {self._operation} ON {self._table} "
            "FOR EACH ROW EXECUTE FUNCTION held_up()"
        )
        return self

    def wait(self) -> None:
        """Until somebody waits for us."""
        waiting = (
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        )
        deadline = time.monotonic() + 120
        while self._connection.execute(waiting, (LOCK,)).fetchone() is None:
            assert time.monotonic() < deadline, "the control plane never came to this point"
            time.sleep(0.05)

    def __exit__(self, *_):
        """The dead process's connection first: dropping the trigger waits for its transaction."""
        waiting = (
            "SELECT pg_terminate_backend(pid) FROM pg_locks "
            "WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        )
        self._connection.execute(waiting, (LOCK,))
        self._connection.execute(f"DROP TRIGGER held_up ON {self._table}")
        self._connection.close()

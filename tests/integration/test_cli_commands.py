"""The command line against a real API on a real port.

What the orchestrator would do to a run is done by hand.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import uvicorn

from control_plane.api.app import create_app
from control_plane.auth import service as auth
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.cli import commands
from control_plane.cli.address import address_file, announced
from control_plane.cli.errors import ServerError, UsageError
from control_plane.cli.output import Output
from control_plane.db.base import new_id
from control_plane.judgements.models import Judgement
from control_plane.judgements.service import queue_judgement
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.runs.leases import claim_next
from control_plane.runs.models import LogChunk, Sandbox
from control_plane.runs.moves import append_event, move_run
from control_plane.runs.rules import RunKind, RunState, SandboxState
from control_plane.services import Services
from control_plane.sessions.models import AgentSession
from control_plane.tasks.models import Task
from control_plane.tasks.moves import apply_effect, move_task
from control_plane.tasks.rules import TaskStatus, effect_of
from control_plane.tasks.service import find_task, latest_runs
from quality_gates.model import GatePolicy, GateReport, TaskReport, Verdict
from quality_gates.render.markdown import render
from quality_gates.report import to_json

VSC = [sys.executable, "-W", "error", "-c", "from control_plane.cli.main import main; main()"]


class Installation:
    """A home, a server over it, and an orchestrator's stand-in: every run ends with `verdict`."""

    def __init__(self, home, sessions):
        self.home, self.sessions, self.verdict = home, sessions, Verdict.PASSED
        self.left, self.succeeds, self.waits_for_cancel = None, True, False
        store, mirrors = DirectoryBlobs(home / "blobs"), Mirrors(home / "repos")
        self.blobs, self.drivers, self.patches = ThreadedBlobs(store), [], []
        self.services = Services(
            sessions=sessions,
            mirrors=mirrors,
            snapshots=Snapshots(sessions, mirrors, LocalDepot(store), home / "snapshots"),
            blobs=self.blobs,
            pages={"md": render},
        )

    async def work(self):
        while True:
            await asyncio.sleep(0.1)
            async with self.sessions.begin() as session:
                run = await claim_next(session, "worker", 30)
                if run is None:
                    continue
                await self._started(session, run)
                if self.waits_for_cancel:
                    continue
                if self.verdict is None:
                    cause = "the engine is gone"
                    await move_run(
                        session, run.id, RunState.LOST, epoch=run.lease_epoch, cause=cause
                    )
                elif run.kind is RunKind.SESSION:
                    await self._left(session, run)
                else:
                    await self._judged(session, run)

    async def _started(self, session, run):
        executes = run.kind is RunKind.SESSION
        stage = "execute" if executes else "head"
        working = RunState.EXECUTING if executes else RunState.VERIFYING
        if executes:
            self.drivers.append((await session.get_one(AgentSession, run.id)).driver)
        else:
            self.patches.append((await session.get_one(Judgement, run.id)).patch_sha256)
        for state in (RunState.HYDRATING, working):
            await move_run(session, run.id, state, epoch=run.lease_epoch)
        if (await session.get_one(Task, run.task_id)).status is TaskStatus.QUEUED:
            await move_task(session, run.task_id, TaskStatus.IN_PROGRESS)
        sandbox = Sandbox(
            id=new_id(), run_id=run.id, stage=stage, name=f"vsc-{run.id}", fingerprint="f", spec={},
            state=SandboxState.LAUNCHED
        )  # fmt: skip
        session.add(sandbox)
        await session.flush()
        said = b"working\x1b[2J\n" if executes else b"2 failed\n"
        session.add(LogChunk(sandbox_id=sandbox.id, stream="stdout", seq=0, data=said))
        await append_event(session, run.id, "stage.planned", {"stage": stage, "n": 0})
        ended = {"stage": stage, "n": 0, "ended": "completed", "exit_code": 0, "detail": ""}
        await append_event(session, run.id, "stage.ended", ended)

    async def _left(self, session, run):
        """The end of a session."""
        own = await session.get_one(AgentSession, run.id)
        own.patch_sha256 = (await self.blobs.put(self.left or b"")).sha256
        await move_run(session, run.id, RunState.DEHYDRATING, epoch=run.lease_epoch)
        failed = {} if self.succeeds else {"verdict": Verdict.FAILED}
        await move_run(
            session, run.id, RunState.FINISHED, epoch=run.lease_epoch, changes=failed,
            cause="" if self.succeeds else "the command ended with exit code 3",
        )  # fmt: skip
        if not self.succeeds:
            await apply_effect(session, run.task_id, effect_of(Verdict.FAILED, last=True), cause="")
            return
        task = await session.get_one(Task, run.task_id)
        await queue_judgement(
            session, task_id=task.id, repo_id=run.repo_id, base_commit=run.base_commit,
            deadline_s=60.0, policy=task.policy, patch_sha256=own.patch_sha256, session_id=run.id,
        )  # fmt: skip

    async def cancelled(self, task_key):
        """What the orchestrator does when it sees the request."""
        while True:
            await asyncio.sleep(0.1)
            async with self.sessions.begin() as session:
                task = await find_task(session, task_key)
                run = (await latest_runs(session, [task.id]))[task.id]
                if run.cancel_requested_at is not None:
                    own = await session.get_one(AgentSession, run.id)
                    own.patch_sha256 = (await self.blobs.put(self.left)).sha256
                    await move_run(
                        session, run.id, RunState.CANCELLED, epoch=None, cause="by request"
                    )
                    return

    async def _judged(self, session, run):
        """The end of a judge run."""
        report = TaskReport(
            verdict=self.verdict,
            gates=(GateReport("tests", self.verdict, ("because",)),),
            base_commit=run.base_commit,
            patch_sha256="0" * 64,
            image="sha256:0",
            environment_sha256="0" * 64,
            policy=GatePolicy(),
        )
        own = await session.get_one(Judgement, run.id)
        own.report_sha256 = (await self.blobs.put(json.dumps(to_json(report)).encode())).sha256
        changes = {"verdict": self.verdict}
        await move_run(session, run.id, RunState.FINISHED, epoch=run.lease_epoch, changes=changes)
        await apply_effect(session, run.task_id, effect_of(self.verdict, last=True), cause="")


@pytest.fixture
async def installation(sessions, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("VSC_HOME", str(home))
    for name in ("VSC_SERVER", "VSC_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    installation = Installation(home, sessions)
    async with sessions.begin() as session:
        await auth.ensure_local_token(session, home)
    listener = commands._listener(0)
    serves = announced(home, f"http://127.0.0.1:{listener.getsockname()[1]}")
    serves.__enter__()  # until a test ends it
    installation.stop_announcing = lambda: serves.__exit__(None, None, None)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(installation.services), log_config=None, lifespan="off", ws="none"
        )
    )
    server.capture_signals = contextlib.nullcontext  # the signals are pytest's
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    working = asyncio.create_task(installation.work())
    yield installation
    if address_file(home).exists():
        installation.stop_announcing()
    working.cancel()
    server.should_exit = True
    await asyncio.gather(serving, working, return_exceptions=True)


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "repository"
    path.mkdir()
    (path / "a.py").write_text("a = 1\n")
    git = ["git", "-C", str(path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    (path / "a.py").write_text("a = 2\n")
    return path


def options(repository, **changes):
    given = {
        "repo": repository, "base": None, "packet": None, "task_type": None,
        "test_changes_allowed": False, "dependency_changes_allowed": False, "deadline_s": 60.0,
    }  # fmt: skip
    return commands.JudgeOptions(**{**given, **changes})


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.PASSED, 0),
        (Verdict.FAILED, 1),
        (Verdict.TAMPERED, 3),
        (Verdict.ERRORED, 3),
        (None, 2),
    ],
)
async def test_check_ends_with_the_code_of_its_verdict_and_prints_one_document(
    installation, repository, capsys, verdict, code
):
    installation.verdict = verdict

    ended = await commands.check(
        commands.Where(), options(repository), Output(as_json=True), patch=None, head=None
    )

    document = json.loads(capsys.readouterr().out)
    assert ended == code
    assert document["verdict"] == (verdict.value if verdict else None)
    assert [(gate["gate"], gate["reasons"]) for gate in document["gates"]] == (
        [("tests", ["because"])] if verdict else []
    )
    stages = [stage["name"] for stage in document["stages"]]
    assert stages[:3] == ["queued", "hydrating", "verifying"]
    given = await installation.blobs.read(installation.patches[0], 10_000)
    assert given.endswith(b"-a = 1\n+a = 2\n")
    assert (installation.drivers, document["session"]) == ([], None)


async def test_check_shows_people_gates_times_and_where_the_report_is(
    installation, repository, capsys
):
    await commands.check(
        commands.Where(), options(repository), Output(as_json=False), patch=None, head=None
    )

    out, err = capsys.readouterr()
    assert "tests" in out
    assert "verdict: passed" in out
    assert "head: " in err
    [markdown] = (installation.home / "reports").glob("*.md")
    assert markdown.name in out.replace("\n", "")
    assert "# Verdict: passed" in markdown.read_text()


async def test_run_gives_the_command_to_the_sandbox(installation, repository):
    argv = ["sh", "-c", "echo 'b = 1' > b.py"]

    assert (
        await commands.run_command(
            commands.Where(), options(repository), Output(as_json=True), argv
        )
        == 0
    )
    assert installation.drivers == [{"kind": "command", "argv": argv, "environ": {}}]


async def test_run_hands_out_the_patch_that_the_command_left(installation, repository, capsys):
    installation.left = b"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-a = 1\n+a = 3\n"
    argv = ["true"]

    await commands.run_command(commands.Where(), options(repository), Output(as_json=True), argv)
    document = json.loads(capsys.readouterr().out)
    await commands.run_command(commands.Where(), options(repository), Output(as_json=False), argv)
    shown = capsys.readouterr().out

    kept = installation.home / "reports" / f"{document['run']}.patch"
    assert document["patch"] == str(kept)
    assert kept.read_bytes() == installation.left
    assert document["output"] == {}
    assert document["session"] != document["run"]
    assert [one["name"] for one in document["stages"] if one["name"].endswith("ing")] == [
        "hydrating", "executing", "dehydrating", "hydrating", "verifying",
    ]  # fmt: skip
    assert f"patch: {installation.home}/reports/" in shown
    await commands.check(
        commands.Where(), options(repository), Output(as_json=True), patch=None, head=None
    )
    assert json.loads(capsys.readouterr().out)["patch"] is None  # it is the caller's own


async def test_a_command_that_fails_shows_the_end_of_what_it_said_and_no_empty_table(
    installation, repository, capsys
):
    installation.succeeds, installation.left = False, b""

    ended = await commands.run_command(
        commands.Where(), options(repository), Output(as_json=False), ["false"]
    )
    shown = capsys.readouterr().out
    await commands.run_command(
        commands.Where(), options(repository), Output(as_json=True), ["false"]
    )
    document = json.loads(capsys.readouterr().out)

    assert ended == 1
    assert "stdout:\n    working\ufffd[2J\n" in shown
    assert "note: the command ended with exit code 3" in shown
    assert "reasons" not in shown
    assert "patch:" not in shown
    assert (document["output"], document["patch"]) == ({"stdout": "working\x1b[2J"}, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_cancels_the_task_also_where_interrupts_are_ignored(
    installation, repository, number
):
    installation.waits_for_cancel, installation.left = True, b"work in progress\n"
    process = await asyncio.create_subprocess_exec(
        *VSC, "run", "--repo", str(repository), "--json", "--", "sleep", "600",
        env=os.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=_ignore_interrupts if number == signal.SIGTERM else _take_interrupts,
    )  # fmt: skip
    said = ""
    async with asyncio.timeout(60):
        while "task " not in said:
            line = (await process.stderr.readline()).decode()
            assert line, said
            said += line
        cancelling = asyncio.create_task(
            installation.cancelled(said.rpartition("task ")[2].partition(",")[0])
        )
        await asyncio.sleep(0.5)
        process.send_signal(number)
        out, err = await process.communicate()
        await cancelling

    document = json.loads(out)
    assert process.returncode == 130, err
    assert (document["state"], document["verdict"]) == ("CANCELLED", None)
    kept = await asyncio.to_thread(Path(document["patch"]).read_bytes)
    assert kept == installation.left
    assert err.decode().rstrip().endswith(f"interrupted: task {document['task']} was cancelled")


def _ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _take_interrupts():
    signal.signal(signal.SIGINT, signal.default_int_handler)


async def test_the_type_of_a_change_is_given_without_a_packet_and_not_with_one(
    installation, repository, tmp_path, capsys
):
    where, output = commands.Where(), Output(as_json=True)
    await commands.check(
        where, options(repository, task_type="REFACTOR"), output, patch=None, head=None
    )
    checked = json.loads(capsys.readouterr().out)

    task = await _said(capsys, commands.show_task(where, output, checked["task"]))
    assert task["task_type"] == "REFACTOR"
    both = options(repository, task_type="REFACTOR", packet=tmp_path / "packet.json")
    with pytest.raises(UsageError, match="leave --type out"):
        await commands.check(where, both, output, patch=None, head=None)


async def test_tasks_are_submitted_listed_shown_watched_reported_and_cancelled(
    installation, repository, capsys, tmp_path
):
    where, output = commands.Where(), Output(as_json=True)
    await commands.check(where, options(repository), output, patch=None, head=None)
    checked = json.loads(capsys.readouterr().out)
    task = await _said(capsys, commands.show_task(where, output, checked["task"]))
    assert task["status"] == "READY_FOR_REVIEW"
    listed = await _said(capsys, commands.list_tasks(where, output, "READY_FOR_REVIEW", 10))
    assert [one["key"] for one in listed["items"]] == [checked["task"]]
    await commands.list_tasks(where, Output(as_json=False), None, 10)
    assert checked["task"] in capsys.readouterr().out

    assert (
        await commands.logs(where, output, checked["run"], follow=True, stage=None, stream=None)
        == 0
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("text") for line in lines] == ["2 failed\n", None]
    for which in (checked["run"], checked["run"][:18], checked["task"], task["id"]):
        await commands.logs(
            where, Output(as_json=False), which, follow=False, stage=None, stream=None
        )
        assert capsys.readouterr().out == "2 failed\n"

    for which in (checked["task"], checked["run"], checked["run"][:18], task["id"]):
        assert (await _said(capsys, commands.report(where, output, which, "json", None)))[
            "verdict"
        ] == "passed"
    await commands.report(where, output, checked["task"], "md", tmp_path / "r.md")
    assert "# Verdict" in (tmp_path / "r.md").read_text()
    assert capsys.readouterr().out == ""

    repository_key = (await _repositories(installation))[0]
    installation.verdict = None  # lost: the task can still be cancelled
    document = {"repository": repository_key, "driver": {"kind": "command", "argv": ["true"]}}
    submitted = await _said(capsys, commands.submit_task(where, output, document, key="once"))
    again = await _said(capsys, commands.submit_task(where, output, document, key="once"))
    assert again["id"] == submitted["id"]
    ended = await _said(capsys, commands.cancel_task(where, output, submitted["key"], anyway=False))
    assert ended["id"] == submitted["id"]

    with pytest.raises(UsageError, match="READY_FOR_REVIEW; --anyway"):
        await commands.cancel_task(where, output, checked["task"], anyway=False)
    gone = await _said(capsys, commands.cancel_task(where, output, checked["task"], anyway=True))
    assert gone["status"] == "CANCELLED"


async def test_the_log_of_a_task_is_its_sessions_and_then_its_judges(
    installation, repository, capsys
):
    where, output = commands.Where(), Output(as_json=True)
    installation.left = b"a patch\n"
    await commands.run_command(where, options(repository), output, ["true"])
    ran = json.loads(capsys.readouterr().out)
    for follow in (False, True):
        await commands.logs(where, output, ran["task"], follow=follow, stage=None, stream=None)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line.get("text") for line in lines] == ["working\x1b[2J\n", "2 failed\n", None]
    await commands.logs(where, output, ran["task"], follow=False, stage="execute", stream=None)
    assert len(capsys.readouterr().out.splitlines()) == 2
    await commands.logs(where, output, ran["task"], follow=False, stage="exec", stream=None)
    assert "nothing was logged with --stage exec; " in capsys.readouterr().err
    await commands.show_task(where, Output(as_json=False), ran["task"])
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("session", "judgement", "argv", "passed"))


async def test_a_patch_is_judged_again_without_a_new_session(installation, repository, capsys):
    where, output = commands.Where(), Output(as_json=True)
    installation.verdict = Verdict.ERRORED
    await commands.run_command(where, options(repository), output, ["true"])
    ran = json.loads(capsys.readouterr().out)
    installation.verdict = Verdict.PASSED

    again = await _said(capsys, commands.judge_task(where, output, ran["task"]))
    await commands.logs(where, output, again["run_id"], follow=True, stage=None, stream=None)
    task = await _shown(capsys, where, ran["task"])

    assert again["run_id"] != ran["run"]
    assert (task["verdict"], task["status"]) == ("passed", "READY_FOR_REVIEW")
    assert len(installation.drivers) == 1, "nobody worked again"
    assert len(set(installation.patches)) == 1
    await commands.show_task(where, Output(as_json=False), ran["task"])
    shown = capsys.readouterr().out
    assert again["run_id"] in shown.split("earlier judgement")[0]
    assert ran["run"] in shown.split("earlier judgement")[1]


async def _shown(capsys, where, task):
    capsys.readouterr()
    return await _said(capsys, commands.show_task(where, Output(as_json=True), task))


async def _said(capsys, command):
    assert await command == 0
    return json.loads(capsys.readouterr().out)


async def _repositories(installation):
    async with commands.connected(commands.settings(), None, None, in_process=None) as connection:
        return [one["key"] for one in (await connection.client.get("/v1/repositories"))["items"]]


async def test_logs_and_reports_are_read_without_a_server_and_without_an_engine(
    installation, repository, capsys, monkeypatch
):
    where, output = commands.Where(), Output(as_json=True)
    await commands.check(where, options(repository), output, patch=None, head=None)
    checked = json.loads(capsys.readouterr().out)
    installation.stop_announcing()
    url = installation.sessions.kw["bind"].url.render_as_string(hide_password=False)
    monkeypatch.setenv("VSC_DATABASE_URL", url)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")

    assert (
        await commands.logs(where, output, checked["task"], follow=False, stage=None, stream=None)
        == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[0])["text"] == "2 failed\n"
    assert (await _said(capsys, commands.report(where, output, checked["task"], "json", None)))[
        "verdict"
    ] == "passed"
    with pytest.raises(ServerError, match="vsc up"):
        await commands.logs(where, output, checked["task"], follow=True, stage=None, stream=None)


async def test_a_beginning_of_two_runs_is_no_name(installation, repository, capsys):
    where, output = commands.Where(), Output(as_json=True)
    ids = []
    for _ in range(2):
        await commands.check(where, options(repository), output, patch=None, head=None)
        ids.append(json.loads(capsys.readouterr().out)["run"])
    if ids[0][:8] != ids[1][:8]:
        pytest.skip("a minute of the ids' clock began between the two")

    with pytest.raises(UsageError, match="give more of it"):
        await commands.report(where, output, ids[0][:8], "md", None)


async def test_a_packet_that_is_invalid_is_told_with_its_path(installation, repository, tmp_path):
    packet = tmp_path / "packet.json"
    packet.write_text('{"schema_version": "2.0"}')

    with pytest.raises(UsageError, match="schema_version"):
        await commands.check(
            commands.Where(),
            options(repository, packet=packet),
            Output(as_json=True),
            patch=None,
            head=None,
        )


async def test_a_server_that_is_not_there_and_a_token_that_is_wrong_are_told(
    installation, tmp_path
):
    with pytest.raises(ServerError, match=r"no control plane answers at http://127\.0\.0\.1:1"):
        await commands.list_tasks(
            commands.Where("http://127.0.0.1:1"), Output(as_json=True), None, 5
        )
    (tmp_path / "token").write_text("vsc_wrong_wrong_wrong_wrong\n")
    address = address_file(installation.home).read_text().strip()
    with pytest.raises(ServerError, match="does not take this token"):
        await commands.list_tasks(
            commands.Where(address, tmp_path / "token"), Output(as_json=True), None, 5
        )
    installation.stop_announcing()
    with pytest.raises(ServerError, match="vsc up"):
        await commands.list_tasks(commands.Where(), Output(as_json=True), None, 5)


async def test_what_the_server_refuses_is_told_with_its_reason(installation):
    with pytest.raises(ServerError, match="no task TASK-NOWHERE"):
        await commands.show_task(commands.Where(), Output(as_json=True), "TASK-NOWHERE")


def vsc(*arguments):
    return subprocess.run(
        [*VSC, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_errors_are_a_sentence_on_stderr_a_document_on_stdout_and_exit_code_2(tmp_path):
    ended = vsc("check", "--repo", str(tmp_path), "--json")

    assert ended.returncode == 2
    assert json.loads(ended.stdout)["error"]["kind"] == "usage"
    assert ended.stderr.startswith("vsc: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--no-such"),
        ("task", "submit", "repo"),
        ("report", "x", "--format", "pdf"),
        ("nothing",),
    ],
)
def test_a_command_that_is_not_understood_ends_with_2(arguments):
    ended = vsc(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")


def test_help_does_not_wait_for_the_platform():
    code = (
        "import sys; from control_plane.cli import main; "
        "print([m for m in ('sqlalchemy', 'fastapi', 'docker', 'uvicorn', 'pydantic') if m in "
        "sys.modules])"
    )

    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )

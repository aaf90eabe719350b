"""Whole runs of a command as the agent: what is kept, and whom the end is laid to."""

import asyncio
import contextlib
import os
import signal

import pytest
from cheat_cases import Case, base_repository, commit_all
from company_kit import test_company as a_company
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from control_plane.judgements.models import Judgement
from control_plane.repos import change_reader
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState
from control_plane.sessions.models import AgentSession
from control_plane.sessions.rules import SessionStatus
from control_plane.tasks.models import Task
from control_plane.tasks.rules import TaskStatus
from control_plane.tasks.service import cancel
from quality_gates.model import GatePolicy, TaskType, Verdict
from sandboxes.docker.local import connect

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

REFACTOR = GatePolicy(task_type=TaskType.REFACTOR, coverage_minimum=0.0)
NOTE = "echo '# noted' >> src/toolbox/__init__.py"


@pytest.fixture(scope="module")
async def company():
    async with a_company(judge_again=0, poll_s=0.2) as opened:
        yield opened


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repositories") / "toolbox"
    return folder, base_repository(folder, Case("none", "", Verdict.PASSED, None))


def shell(script):
    return {"kind": "command", "argv": ["/bin/sh", "-euc", script]}


async def judged(company, repository, script, **options):
    return await company.judge(*repository, shell(script), REFACTOR, **options)


async def until(company, run, condition):
    async with asyncio.timeout(120):
        while True:
            async with company.company.services.sessions() as session:
                now = await session.get_one(Run, run.id)
                boxes = list(await session.scalars(select(Sandbox).where(Sandbox.run_id == run.id)))
            if condition(now, boxes):
                return now, boxes
            await asyncio.sleep(0.1)


async def patch_of(company, run):
    session = await stored(company, select(AgentSession).where(AgentSession.run_id == run.id))
    return await company.company.services.blobs.read(session.patch_sha256, 2**20)


async def stored(company, query):
    async with company.company.services.sessions() as session:
        return await session.scalar(query)


async def test_what_a_command_leaves_is_judged_in_a_run_of_its_own(company, repository):
    ended = await judged(company, repository, NOTE)

    judgement = await stored(company, select(Judgement).where(Judgement.run_id == ended.run.id))
    session = await stored(
        company, select(AgentSession).where(AgentSession.run_id == judgement.session_id)
    )
    assert ended.verdict is Verdict.PASSED, ended.run.cause
    assert session.status is SessionStatus.SUCCESS
    assert (session.patch_sha256, session.head_tree) == (
        judgement.patch_sha256,
        judgement.head_tree,
    )
    stages = select(Sandbox.stage).where(Sandbox.run_id == judgement.session_id)
    async with company.company.services.sessions() as rows:
        assert list(await rows.scalars(stages)) == ["execute"]


async def test_a_command_that_changes_nothing_is_no_success(company, repository):
    ended = await judged(company, repository, "true")

    assert ended.verdict is Verdict.FAILED
    assert "empty" in ended.run.cause


async def test_a_failing_command_is_the_agents_and_its_work_is_kept(company, repository):
    ended = await judged(company, repository, f"{NOTE}; exit 3")

    assert ended.verdict is Verdict.FAILED
    assert "exit code 3" in ended.run.cause
    assert ended.run.cause.endswith("kept as the run's patch")
    assert (ended.report["verdict"], ended.report["notes"]) == ("failed", [ended.run.cause])
    assert ended.run.kind is RunKind.SESSION, "there is nothing to judge"
    assert b"+# noted" in await patch_of(company, ended.run)
    session = await stored(company, select(AgentSession).where(AgentSession.run_id == ended.run.id))
    assert session.status is SessionStatus.FAILURE
    assert session.execution_time_ms > 0


async def test_at_the_deadline_the_work_in_progress_is_kept(company, repository):
    ended = await judged(company, repository, f"{NOTE}; sleep 600", deadline_s=2.0)

    assert ended.verdict is Verdict.FAILED
    assert "deadline" in ended.run.cause
    assert b"+# noted" in await patch_of(company, ended.run)
    task = await stored(company, select(Task).where(Task.id == ended.run.task_id))
    assert (task.status, task.retry_count) == (TaskStatus.REJECTED, 1)


async def test_a_cancel_keeps_the_work_and_counts_against_nobody(company, repository):
    run = await company.submit(*repository, shell(f"{NOTE}; sleep 600"), REFACTOR)
    await until(
        company, run, lambda now, boxes: any(box.state is SandboxState.LAUNCHED for box in boxes)
    )
    await asyncio.sleep(1)  # the command needs a moment to write
    async with company.company.services.sessions.begin() as session:
        await cancel(session, await session.get_one(Task, run.task_id), "test")

    ended, boxes = await until(company, run, lambda now, boxes: now.state is RunState.CANCELLED)

    assert b"+# noted" in await patch_of(company, ended)
    assert {box.state for box in boxes} == {SandboxState.DESTROYED}
    task = await stored(company, select(Task).where(Task.id == run.task_id))
    assert (task.status, task.retry_count) == (TaskStatus.CANCELLED, 0)


async def test_a_sandbox_killed_from_outside_is_the_platforms(company, repository):
    run = await company.submit(*repository, shell(f"{NOTE}; sleep 600"), REFACTOR)
    _, boxes = await until(
        company, run, lambda now, boxes: any(box.state is SandboxState.LAUNCHED for box in boxes)
    )
    connect().containers.get(boxes[0].name).kill("KILL")

    ended, _ = await until(company, run, lambda now, boxes: now.state is RunState.LOST)

    assert "from outside" in ended.cause
    task = await stored(company, select(Task).where(Task.id == run.task_id))
    assert (task.status, task.retry_count) == (TaskStatus.QUEUED, 0)


async def test_a_sandbox_that_vanished_is_launched_again(company, repository):
    run = await company.submit(*repository, shell(f"{NOTE}; sleep 3"), REFACTOR)
    _, boxes = await until(
        company, run, lambda now, boxes: any(box.state is SandboxState.LAUNCHED for box in boxes)
    )
    connect().containers.get(boxes[0].name).remove(force=True)

    _, boxes = await until(company, run, lambda now, boxes: now.state is RunState.FINISHED)

    judged = await company.ended(await company.newest(run.task_id))
    assert (judged.kind, judged.verdict) == (RunKind.JUDGE, Verdict.PASSED), judged.cause
    assert sorted(box.n for box in boxes if box.stage == "execute") == [0, 1]


async def test_a_database_that_dies_meanwhile_ends_nothing(company, repository):
    run = await company.submit(*repository, shell(f"{NOTE}; sleep 5"), REFACTOR)
    await until(
        company, run, lambda now, boxes: any(box.state is SandboxState.LAUNCHED for box in boxes)
    )
    pid_file = company.company.settings.home / "postgres" / "data" / "postmaster.pid"
    os.kill(
        int(pid_file.read_text().split()[0]), signal.SIGQUIT
    )  # an immediate shutdown: no goodbye to anybody

    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(SQLAlchemyError):
                ended, boxes = await until(company, run, lambda now, boxes: now.state in TERMINAL)
                break
            await asyncio.sleep(0.5)

    judged = await company.ended(await company.newest(run.task_id))
    assert (ended.state, judged.verdict) == (RunState.FINISHED, Verdict.PASSED), judged.cause
    assert [box.n for box in boxes if box.stage == "execute"] == [0]


async def test_a_change_that_is_too_much_is_its_authors_to_split(company, repository, monkeypatch):
    monkeypatch.setattr(change_reader, "MAX_TOTAL_BYTES", 10)

    ended = await judged(company, repository, NOTE)

    assert ended.verdict is Verdict.FAILED
    assert "split it" in ended.run.cause


async def test_requirements_that_cannot_be_had_are_an_error_with_the_tools_own_words(
    company, tmp_path
):
    repo = tmp_path / "impossible"
    base_repository(repo, Case("none", "", Verdict.PASSED, None))
    (repo / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["vsc-no-such-distribution==1"]\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    base = commit_all(repo, "impossible requirement")

    ended = await company.judge(repo, base, shell(NOTE), REFACTOR)

    assert ended.verdict is Verdict.ERRORED
    assert "vsc-no-such-distribution" in ended.run.cause
    assert ended.report["verdict"] == "errored"


HUNGRY = """

def test_that_needs_more_than_there_is():
    held = [b"x" * 2**20 for _ in range(4096)]
    assert held
"""


async def test_a_base_that_runs_out_of_memory_is_told_and_not_judged_for_ever(company, tmp_path):
    repo = tmp_path / "hungry"
    base_repository(repo, Case("none", "", Verdict.PASSED, None))
    (repo / "tests" / "test_hungry.py").write_text(HUNGRY)
    base = commit_all(repo, "a test that eats all memory")

    ended = await company.judge(repo, base, shell(NOTE), REFACTOR)

    assert ended.verdict in (Verdict.INCONCLUSIVE, Verdict.ERRORED)
    assert "base could not be tested: stage base ended as oom" in ended.run.cause
    assert "stage base ended as oom" in ended.report["base_trouble"]
    bases = select(func.count()).where(
        Run.kind == RunKind.BASE, Run.repo_id == ended.run.repo_id, Run.base_commit == base
    )
    assert await stored(company, bases) == 1, "made once, and not again for the same asker"


async def test_a_patch_that_is_given_needs_no_sandbox_to_be_applied(company, repository, tmp_path):
    patch = b"""\
diff --git a/src/toolbox/__init__.py b/src/toolbox/__init__.py
--- a/src/toolbox/__init__.py
+++ b/src/toolbox/__init__.py
@@ -9 +9 @@
-nothing of the kind
+noted
"""
    ended = await company.judge(*repository, {"kind": "patch", "patch": patch}, REFACTOR)

    assert (ended.run.kind, ended.verdict) == (RunKind.JUDGE, Verdict.FAILED)
    assert ended.run.cause.startswith("the patch does not apply exactly: on ")
    boxes = select(func.count()).where(Sandbox.run_id == ended.run.id)
    assert await stored(company, boxes) == 0

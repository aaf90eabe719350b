"""What is refused or too much, through whole runs: who is told, and against whom it counts.

The control plane is in this process, so that a test may lower its limits.
"""

import contextlib

import pytest
from cheat_cases import git
from fleet_kit import PASSES
from history_kit import assert_sound, leftovers
from sqlalchemy import delete, select

from control_plane.orchestrator.worker import MAX_FAILURES
from control_plane.processes.local import open_company
from control_plane.repos import trees
from control_plane.repos.git import GitLimits
from control_plane.repos.models import EnvironmentRow
from control_plane.runs.models import Run
from control_plane.runs.rules import RunKind, RunState
from control_plane.sessions.models import AgentSession
from control_plane.settings import Settings
from control_plane.tasks.models import Task
from control_plane.tasks.rules import TaskStatus
from quality_gates.model import Verdict

WHY = "no such thing here"
NEWLINES = "head -c 3000000 /dev/zero | tr '\\0' '\\n' > newlines"
TOO_LITTLE = GitLimits(memory_bytes=60 * 2**20)


@pytest.fixture(scope="module")
async def company(fleet):
    settings = Settings(
        home=fleet.home,
        database_url=fleet.url,
        engine=f"memory:{fleet.engine.home}",
        judge_again=0,
        poll_s=0.2,
    )
    async with open_company(settings) as company:
        company.worker._retry_s = 0.05
        yield company


@contextlib.asynccontextmanager
async def refused(fleet, stage, *, broken=False):
    await fleet.engine.ask("refuse", stage=stage, why=WHY, broken=broken)
    try:
        yield
    finally:
        await fleet.engine.ask("refuse", stage=stage, why="", broken=broken)


async def another_base(fleet):
    """Nothing that was made before is found for it."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    git(fleet.repo, *who, "commit", "-q", "--allow-empty", "-m", "another base")
    async with fleet.sessions.begin() as session:
        await session.execute(delete(EnvironmentRow))


async def task_of(fleet, run):
    async with fleet.sessions() as session:
        return await session.get_one(Task, run.task_id)


async def shared(fleet, kind, base_commit):
    async with fleet.sessions() as session:
        query = select(Run).where(Run.kind == kind, Run.base_commit == base_commit)
        return list(await session.scalars(query.order_by(Run.id)))


@pytest.mark.parametrize(
    ("stage", "state", "verdict", "status"),
    [
        ("prepare", RunState.FINISHED, Verdict.ERRORED, TaskStatus.IN_PROGRESS),
        ("execute", RunState.LOST, None, TaskStatus.QUEUED),
        ("base", RunState.FINISHED, Verdict.ERRORED, TaskStatus.IN_PROGRESS),
        ("head", RunState.LOST, None, TaskStatus.QUEUED),
    ],
)
async def test_a_stage_that_the_engine_refuses_counts_against_nobody(
    fleet, company, stage, state, verdict, status
):
    await another_base(fleet)
    async with refused(fleet, stage):
        _, run = await fleet.submit(f"{PASSES}; echo {stage} > n")
        (ended,) = await fleet.ended(run)

    assert (ended.state, ended.verdict) == (state, verdict), ended.cause
    assert WHY in ended.cause
    task = await task_of(fleet, ended)
    assert (task.status, task.retry_count) == (status, 0)
    if stage in ("prepare", "base"):
        made = await shared(fleet, RunKind(stage), ended.base_commit)
        assert [one.state for one in made] == [RunState.LOST], "asked for once"


@pytest.mark.parametrize("stage", ["prepare", "base"])
async def test_a_shared_run_at_which_the_engine_fails_is_given_up_and_told(fleet, company, stage):
    await another_base(fleet)
    async with refused(fleet, stage, broken=True):
        _, run = await fleet.submit(f"{PASSES}; echo broken {stage} > n")
        (ended,) = await fleet.ended(run)

    (made,) = await shared(fleet, RunKind(stage), ended.base_commit)
    assert made.state is RunState.LOST
    assert f"the platform failed {MAX_FAILURES} times" in made.cause
    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.ERRORED), ended.cause
    assert WHY in ended.cause
    task = await task_of(fleet, ended)
    assert (task.status, task.retry_count) == (TaskStatus.IN_PROGRESS, 0)


async def test_a_change_of_a_session_that_is_too_much_for_us_is_its_authors_to_split(
    fleet, company, monkeypatch
):
    monkeypatch.setattr(trees, "CHANGE_LIMITS", TOO_LITTLE)
    _, run = await fleet.submit(NEWLINES)

    (ended,) = await fleet.ended(run)

    assert (ended.kind, ended.verdict) == (RunKind.JUDGE, Verdict.FAILED), ended.cause
    assert "too large" in ended.cause
    assert "split it" in ended.cause
    async with fleet.sessions() as session:
        own = await session.get_one(AgentSession, run.id)
    assert own.refused[0].startswith("the change: the change is too large")
    assert len(await fleet.blobs.read(own.patch_sha256, 2**24)) > 3_000_000, "its work is kept"
    task = await task_of(fleet, ended)
    assert (task.status, task.retry_count) == (TaskStatus.REJECTED, 1)


async def test_a_patch_that_is_too_much_for_us_is_its_authors_to_split(fleet, company, monkeypatch):
    monkeypatch.setattr(trees, "CHANGE_LIMITS", TOO_LITTLE)
    lines = "+\n" * 3_000_000
    patch = (
        "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n"
        f"@@ -0,0 +1,3000000 @@\n{lines}"
    )
    _, run = await fleet.submit_patch(patch.encode())

    (ended,) = await fleet.ended(run)

    assert (ended.kind, ended.state) == (RunKind.JUDGE, RunState.FINISHED)
    assert ended.verdict is Verdict.FAILED
    assert "too large" in ended.cause
    assert "split it" in ended.cause


async def test_what_a_session_leaves_that_no_patch_carries_is_named_and_then_counted(
    fleet, company
):
    _, run = await fleet.submit(f"{PASSES}; for n in $(seq 205); do mkfifo pipe-$n; done")

    (ended,) = await fleet.ended(run)

    assert ended.verdict is Verdict.FAILED, ended.cause
    async with fleet.sessions() as session:
        own = await session.get_one(AgentSession, run.id)
    assert len(own.refused) == 201
    assert own.refused[-1] == "the change: 5 more entries cannot be taken"
    assert all(one.startswith("pipe-") for one in own.refused[:-1])


async def test_the_history_of_all_this_is_sound(fleet, company):
    await leftovers(fleet)  # doors of sandboxes that never were
    await assert_sound(fleet)

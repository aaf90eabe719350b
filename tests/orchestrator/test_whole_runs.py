"""Whole runs over the in-memory engine: real rows, a real control plane, tests that really ran."""

import asyncio
import secrets
from pathlib import Path

import pytest
from fleet_kit import BREAKS, PASSES, is_ended, launched
from history_kit import assert_sound
from sqlalchemy import select

from control_plane.runs.models import Run
from control_plane.runs.rules import RunKind, RunState
from control_plane.sessions.models import AgentSession
from control_plane.tasks.models import Task
from control_plane.tasks.rules import TaskStatus
from quality_gates.model import GatePolicy, TaskType, Verdict

UP = "echo up > toy/up"
SLEEPS = f"{UP}; sleep 600"
FEATURE = GatePolicy(task_type=TaskType.FEATURE, coverage_minimum=0.5)
WITH_TEST = """
cat >> toy/__init__.py <<'END'


def double(a):
    \"\"\"Twice.\"\"\"
    return a * 2
END
cat > tests/test_double.py <<'END'
\"\"\"Doubles.\"\"\"

from toy import double


def test_double():
    \"\"\"Twice.\"\"\"
    assert double(2) == 4
END
"""


@pytest.mark.parametrize(
    ("script", "policy", "verdict"),
    [
        (PASSES, None, Verdict.PASSED),
        (WITH_TEST, FEATURE, Verdict.PASSED),
        (WITH_TEST.split("cat > tests", maxsplit=1)[0], FEATURE, Verdict.FAILED),
        (BREAKS, None, Verdict.FAILED),
        ("exit 3", None, Verdict.FAILED),
        ("true", None, Verdict.FAILED),
    ],
    ids=["passes", "a tested feature", "an untested one", "breaks a test", "fails", "nothing"],
)
async def test_a_change_has_the_verdict_of_its_own_tests(
    fleet, control_plane, script, policy, verdict
):
    given = [policy] if policy else []
    _, run = await fleet.submit(script, *given)

    (ended,) = await fleet.ended(run)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, verdict), ended.cause


async def test_a_test_that_fails_by_chance_is_run_again_and_blames_nobody(fleet, control_plane):
    name = f"vsc-test-{secrets.token_hex(8)}"
    script = f"""cat > toy/__init__.py <<'END'
\"\"\"A toy.\"\"\"

from pathlib import Path


def add(a, b):
    \"\"\"Sum, but for the first time.\"\"\"
    marker = Path("/", "var", "tmp", "{name}")
    if not marker.exists():
        marker.touch()
        raise RuntimeError("once")
    return a + b
END
"""
    _, run = await fleet.submit(script)

    ended, boxes = await fleet.until(run, is_ended)

    await asyncio.to_thread(Path("/var/tmp", name).unlink)
    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause
    assert {box.stage for box in boxes if box.stage.startswith("head")} == {"head", "head-again"}


SLOW_TEST = """
cat > tests/test_slow.py <<'END'
\"\"\"Slow.\"\"\"

import time


def test_slow():
    \"\"\"Ends when nobody listens.\"\"\"
    time.sleep(3)
END
"""


async def test_tests_that_end_while_nobody_listens_are_run_again(fleet):
    """The control plane is away for longer than a sandbox waits with what it has to say."""
    first = fleet.start()
    _, run = await fleet.submit(f"{PASSES}\n{SLOW_TEST}")
    _, boxes = await fleet.until(run, launched("head"))
    fleet.killed(first)
    name = next(box.name for box in boxes if box.stage == "head")
    await fleet.until_over(name)

    second = fleet.start()
    ended, boxes = await fleet.until(run, is_ended)
    await fleet.end(second)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause
    assert [box.n for box in boxes if box.stage == "head"] == [0, 1]


async def test_what_is_made_of_base_is_made_once(fleet, control_plane):
    runs = [(await fleet.submit(f"{PASSES}; echo {n} > n"))[1] for n in range(3)]
    await fleet.ended(*runs)

    async with fleet.sessions() as session:
        kinds = [run.kind for run in await session.scalars(select(Run))]

    assert kinds.count(RunKind.PREPARE) == 1
    assert kinds.count(RunKind.BASE) <= 2, "one for each lint configuration"


async def test_a_cancel_before_anybody_looked(fleet):
    task, run = await fleet.submit(SLEEPS)
    await fleet.cancel(task)
    process = fleet.start()

    (ended,) = await fleet.ended(run)
    fleet.killed(process)

    assert ended.state is RunState.CANCELLED
    assert await status_of(fleet, task) is TaskStatus.CANCELLED


async def test_a_cancel_while_the_agent_works_keeps_its_work(fleet, control_plane):
    task, run = await fleet.submit(SLEEPS)
    await fleet.until(run, launched("execute"))
    await until_up(fleet, run)

    await fleet.cancel(task)
    (ended,) = await fleet.ended(run)

    assert ended.state is RunState.CANCELLED
    assert b"+up" in await fleet.blobs.read(await patch_of(fleet, ended), 2**20)


async def test_a_cancel_while_the_judge_works(fleet, control_plane):
    slow = "printf '\\n\\ndef test_slow():\\n    import time; time.sleep(60)\\n'"
    task, run = await fleet.submit(f"{PASSES}; {slow} >> tests/test_add.py")
    await fleet.until(run, launched("head"))

    await fleet.cancel(task)
    (ended,) = await fleet.ended(run)

    assert ended.state is RunState.CANCELLED
    assert await status_of(fleet, task) is TaskStatus.CANCELLED


@pytest.mark.parametrize("how", ["evicted", "lost"])
async def test_a_sandbox_that_the_engine_takes_away_is_launched_again(fleet, control_plane, how):
    _, run = await fleet.submit(f"{PASSES}; sleep 2; echo {how} > how")
    _, boxes = await fleet.until(run, launched("execute"))

    await fleet.engine.ask("end", name=boxes[0].name, ended=how)
    ended, boxes = await fleet.until(run, is_ended)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause
    assert sorted(box.n for box in boxes if box.stage == "execute") == [0, 1]


async def test_a_stage_that_is_lost_three_times_ends_its_run(fleet, control_plane):
    task, run = await fleet.submit(SLEEPS)
    for n in range(3):
        _, boxes = await fleet.until(
            run, lambda _, boxes, n=n: any(b.n == n and b.state == "LAUNCHED" for b in boxes)
        )
        await fleet.engine.ask("end", name=boxes[-1].name, ended="lost")

    ended, boxes = await fleet.until(run, is_ended)

    assert ended.state is RunState.LOST
    assert [box.n for box in boxes] == [0, 1, 2]
    assert await status_of(fleet, task) is TaskStatus.QUEUED, "it counts against no agent"


async def test_an_engine_that_is_started_again_loses_no_run(fleet, control_plane):
    """F22, live-restore on: the sandbox goes on and is found again."""
    _, run = await fleet.submit(f"{PASSES}; sleep 3; echo restarted > r")
    await fleet.until(run, launched("execute"))

    fleet.engine.kill()
    fleet.engine.start()
    ended, boxes = await fleet.until(run, is_ended)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause
    assert [box.n for box in boxes if box.stage == "execute"] == [0]


async def test_an_engine_that_lost_its_sandboxes_has_them_launched_again(fleet, control_plane):
    """F22, live-restore off: the sandboxes die with the engine, and that is the platform's."""
    _, run = await fleet.submit(f"{PASSES}; sleep 3; echo lost > r")
    await fleet.until(run, launched("execute"))

    fleet.engine.kill()
    fleet.engine.start(lose=True)
    ended, boxes = await fleet.until(run, is_ended)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause
    assert [box.n for box in boxes if box.stage == "execute"] == [0, 1]


async def test_an_engine_that_hangs_for_a_while_ends_nothing(fleet, control_plane):
    """F23: timeouts, the database's health unhurt, and the run goes on afterwards."""
    _, run = await fleet.submit(f"{PASSES}; sleep 2; echo hung > h")
    await fleet.until(run, launched("execute"))

    fleet.engine.hang()
    await fleet.until(run, lambda now, _: now.claims > 0)
    fleet.engine.go_on()
    (ended,) = await fleet.ended(run)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause


async def test_the_history_of_all_this_is_sound(fleet, control_plane):
    assert await fleet.end(control_plane) == 0
    await assert_sound(fleet)


async def patch_of(fleet, run):
    async with fleet.sessions() as session:
        query = select(AgentSession.patch_sha256).where(AgentSession.run_id == run.id)
        return await session.scalar(query)


async def status_of(fleet, task):
    async with fleet.sessions() as session:
        return (await session.get_one(Task, task.id)).status


async def until_up(fleet, run):
    """Until the agent has written its file."""
    async with asyncio.timeout(60):
        while not list((fleet.engine.home / "s").glob(f"*{run.id.hex}*/workspace/toy/up")):  # noqa: ASYNC110 -- a file tells nobody
            await asyncio.sleep(0.05)

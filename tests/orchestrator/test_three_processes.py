"""API, orchestrator and gateway as processes of their own over one home: `vsc up --only ...`."""

import asyncio
import subprocess

import pytest
from company_kit import fresh_home
from history_kit import assert_sound
from parts_kit import VSC, a_trio
from sqlalchemy import func, select

from control_plane.processes.names import Part
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.rules import TERMINAL, RunKind, SandboxState

JUDGEMENTS = 50
NOTE = """\
diff --git a/note b/note
new file mode 100644
--- /dev/null
+++ b/note
@@ -0,0 +1 @@
+{n}
"""
BREAK = """\
diff --git a/toy/__init__.py b/toy/__init__.py
--- a/toy/__init__.py
+++ b/toy/__init__.py
@@ -6 +6 @@
-    return a + b
+    return a - b
"""
WANTS = """\
diff --git a/requirements.txt b/requirements.txt
new file mode 100644
--- /dev/null
+++ b/requirements.txt
@@ -0,0 +1 @@
+left-pad
"""
CHANGES = {
    "failed: its test": BREAK,
    "failed: needs leave": WANTS,
    "passed": "",
    "failed: needs leave, too": WANTS,
    "passed: again": "",
}
"""Verdict and why -> what is changed beside a note. What needs leave starts no sandbox."""


@pytest.fixture
async def trio(fleet):
    """All three, ready for work."""
    with a_trio(fleet.home, fleet.environ) as trio:
        for part in Part:
            trio.start(part)
        for part in Part:
            assert await trio.health(part, "live") == (200, {"status": "live"})
            assert (await trio.health(part, "ready"))[1]["status"] == "ready"
        yield trio


@pytest.mark.timeout(900)
async def test_fifty_judgements_while_each_process_is_killed_once(fleet, trio):
    await imported(fleet, trio)
    wanted = [list(CHANGES)[n % len(CHANGES)] for n in range(JUDGEMENTS)]
    runs = [await submitted(trio, n, CHANGES[one]) for n, one in enumerate(wanted)]
    watchers = [asyncio.create_task(trio.watch(run)) for run in runs]

    for kills, part in enumerate([Part.GATEWAY, Part.ORCHESTRATOR, Part.API], start=1):
        await at_work(fleet, kills * JUDGEMENTS // 5)
        trio.kill(part)
        trio.start(part)
    seen = await asyncio.gather(*watchers)

    assert [end["verdict"] for _, end in seen] == [one.partition(":")[0] for one in wanted]
    for run, (events, end) in zip(runs, seen, strict=True):
        fresh = await trio.ask("GET", f"/v1/runs/{run}/events?limit=200")
        assert fresh["items"] == events
        now = await trio.ask("GET", f"/v1/runs/{run}")
        assert {name: now[name] for name in end} == end
    assert [await trio.end(part) for part in Part] == [0, 0, 0]
    await assert_sound(fleet)
    assert left_on_disk(fleet) == []


def test_an_orchestrator_without_an_engine_says_so_and_the_others_need_none(fleet):
    said = subprocess.run(
        [*VSC, "up", "--only", "orchestrator", "--port", "0"],
        env=fleet.environ | {"VSC_ENGINE": "memory:/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 2
    assert "/nowhere" in said.stderr
    assert "Traceback" not in said.stderr


async def test_the_embedded_database_outlives_whoever_started_it(fleet):
    """And is stopped by the last one out."""
    with fresh_home("vsc-parts-") as home, a_trio(home, without_database(fleet)) as trio:
        for part in (Part.GATEWAY, Part.API):
            trio.start(part)
            await trio.told(part)
        server = pid_of(home)
        trio.kill(Part.GATEWAY)
        _, ready = await trio.health(Part.API, "ready")
        trio.start(Part.GATEWAY)
        await trio.told(Part.GATEWAY)
        same = pid_of(home)
        ended = [await trio.end(part) for part in (Part.API, Part.GATEWAY)]

        assert ready["status"] == "ready", ready
        assert same == server
        assert ended == [0, 0]
        assert not (home / "postgres" / "data" / "postmaster.pid").exists()


async def test_an_api_that_is_told_to_stop_does_not_wait_for_who_follows_a_run(fleet):
    """Nobody drives it here, so its log would never end."""
    with fresh_home("vsc-parts-") as home, a_trio(home, without_database(fleet)) as trio:
        trio.start(Part.API)
        await trio.told(Part.API)
        await imported(fleet, trio)
        run = await submitted(trio, 0, "")
        path = f"/v1/runs/{run}/logs?follow=true"
        async with trio.client() as client, client.stream("GET", path) as following:
            ended = await trio.end(Part.API)

        assert following.status_code == 200
        assert ended == 0


async def imported(fleet, trio):
    source = {"kind": "path", "path": str(fleet.repo)}
    await trio.ask("POST", "/v1/repositories", json={"key": "toy", "source": source})


async def submitted(trio, n, change):
    """A patch of its own, handed in to be judged; its judge run."""
    patch = NOTE.format(n=n) + change
    sha256 = (await trio.ask("POST", "/v1/blobs", content=patch))["sha256"]
    document = {"repository": "toy", "patch": sha256, "task_type": "REFACTOR"}
    once = {"idempotency-key": f"change {n}"}
    return (await trio.ask("POST", "/v1/tasks", json=document, headers=once))["run_id"]


async def at_work(fleet, ended):
    """Until so many judgements have ended, and somebody is in the middle of another."""
    over = select(func.count()).where(Run.kind == RunKind.JUDGE, Run.state.in_(TERMINAL))
    lives = select(func.count()).where(Sandbox.state == SandboxState.LAUNCHED)
    while True:
        async with fleet.sessions() as session:
            now = await session.scalar(over)
            if now >= ended and await session.scalar(lives):
                return
        assert now < JUDGEMENTS, "nobody is left at work who could be killed"
        await asyncio.sleep(0.05)


def left_on_disk(fleet):
    """Door directories and places of sandboxes."""
    return [path.name for path in (fleet.engine.home / "s").iterdir()]


def without_database(fleet):
    return {name: value for name, value in fleet.environ.items() if name != "VSC_DATABASE_URL"}


def pid_of(home):
    return (home / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0]

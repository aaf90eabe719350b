"""Two homes with an engine each, over one database and one blob store, as on two machines."""

import asyncio
import contextlib
import difflib
import shutil
from collections import Counter

import httpx
import pytest
from fleet_kit import TOY
from history_kit import assert_sound
from sqlalchemy import select

from control_plane.api.app import create_app
from control_plane.auth import service as auth
from control_plane.processes.api import open_reading
from control_plane.runs.models import Run, RunEvent, Sandbox
from control_plane.sites.models import Site

JUDGEMENTS = 50
INIT = "toy/__init__.py"
TEST = "tests/test_add.py"
SHORT = {"VSC_SITE_LEASE_S": "3", "VSC_SITE_GRACE_S": "2"}


@contextlib.asynccontextmanager
async def api_of(home):
    """The API over a home, as another process than its control plane would serve it."""
    async with open_reading(home.settings()) as services:
        async with services.sessions.begin() as session:
            token = await auth.issue(session, f"test of {home.home}")
        transport = httpx.ASGITransport(create_app(services))
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://vsc", headers=headers, timeout=60
        ) as client:
            yield client


async def asked(client, verb, path, **more):
    answer = await client.request(verb, f"/v1{path}", **more)
    assert answer.is_success, answer.text
    return answer.json()


async def imported(client, home):
    source = {"kind": "path", "path": str(home.repo)}
    await asked(client, "POST", "/repositories", json={"key": "toy", "source": source})


async def submitted(client, patch):
    """The judge run of that patch."""
    blob = await asked(client, "POST", "/blobs", content=patch.encode())
    task = {"repository": "toy", "patch": blob["sha256"], "task_type": "REFACTOR"}
    task["test_changes_allowed"] = True
    made = await asked(client, "POST", "/tasks", json=task)
    return made["run_id"]


def a_change(n):
    """One of fifty patches, and its verdict; every other one does not apply: no sandbox sees it."""
    passes = TOY[INIT] + f"# {n}\n"
    if n % 2:
        return patch_of(INIT, passes, before="something else\n"), "failed"
    if n % 10 == 0:
        return patch_of(INIT, passes.replace("a + b", "a - b")), "failed"
    return patch_of(INIT, passes), "passed"


def patch_of(name, text, before=None):
    """What makes that text of a file of the toy's."""
    before, after = (one.splitlines(keepends=True) for one in (before or TOY[name], text))
    changed = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    return f"diff --git a/{name} b/{name}\n" + "".join(changed)


async def watched(client, run):
    """What somebody sees who follows the run's events from the start to its end."""
    seen, after = [], 0
    while True:
        told = await asked(client, "GET", f"/runs/{run}/events?after={after}&wait_s=10")
        seen, after = seen + told["items"], told["next"]
        if told["ended"] and not told["items"]:
            return seen


async def launched_at(home, of=None):
    """Until a sandbox lives at the site of that home: of any run, or of each of these."""
    async with asyncio.timeout(200):
        while True:
            async with home.sessions() as session:
                query = select(Sandbox.run_id).join(Run).join(Site, Site.id == Run.site_id)
                here = query.where(Site.home == str(home.home), Sandbox.state == "LAUNCHED")
                live = {str(run) for run in await session.scalars(here)}
            if live and live.issuperset(of or []):
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(600)
async def test_two_homes_share_fifty_judgements_and_each_is_killed_once(homes):
    """All are submitted to one home; the other has nothing of the repository but its blobs."""
    here, there = homes
    patches, wanted = zip(*(a_change(n) for n in range(JUDGEMENTS)), strict=True)
    async with api_of(here) as api, api_of(there) as other_api:
        await imported(api, here)
        runs = [await submitted(api, patch) for patch in patches]
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(watched(other_api, run)) for run in runs]
            pair = [home.start() for home in homes]
            for n, home in enumerate(homes):
                await launched_at(home)
                home.killed(pair[n])
                pair[n] = home.start()
        seen = [watcher.result() for watcher in watchers]
        fresh = [await asked(api, "GET", f"/runs/{run}/events?limit=200") for run in runs]
        rows = [await asked(api, "GET", f"/runs/{run}") for run in runs]
        reports = [await asked(other_api, "GET", f"/runs/{run}/report") for run in runs]
    codes = [await home.end(process) for home, process in zip(homes, pair, strict=True)]

    assert codes == [0, 0]
    told = [(row["state"], row["verdict"], row["cause"]) for row in rows]
    pairs = zip(told, wanted, strict=True)
    assert [each for each, one in pairs if each[:2] != ("FINISHED", one)] == []
    assert [report["verdict"] for report in reports] == list(wanted)
    assert seen == [told["items"] for told in fresh]
    assert [events[-1]["payload"]["verdict"] for events in seen] == list(wanted)
    async with here.sessions() as session:
        sites = (await session.execute(select(Site.home, Run.kind).join(Run))).all()
        shared = [kind for kind in await session.scalars(select(Run.kind)) if kind != "judge"]
    assert {home for home, _ in sites} == {str(home.home) for home in homes}
    assert min(Counter(home for home, _ in sites).values()) >= 5
    assert set(shared) == {"prepare", "base"}
    assert not list(there.home.glob("mirrors/*.git/refs/vsc/head"))
    for home in homes:
        await assert_sound(home)


async def test_a_home_that_is_gone_for_good_leaves_its_judgements_to_the_other(homes):
    """Its session is LOST with the reason; when it comes back, it clears away what nobody wants."""
    gone, left = homes
    slow = TOY[TEST] + "\n\ndef test_slow():\n    import time\n\n    time.sleep(3)\n"
    async with api_of(gone) as api:
        await imported(api, gone)
        judged = [await submitted(api, patch_of(TEST, f"{slow}# {n}\n")) for n in range(2)]
        driver = {"kind": "command", "argv": ["/bin/sh", "-c", "sleep 600"]}
        task = {"repository": "toy", "driver": driver, "task_type": "REFACTOR"}
        worked = (await asked(api, "POST", "/tasks", json=task))["run_id"]
    first = gone.start(**SHORT)
    await launched_at(gone, of=[*judged, worked])
    gone.killed(first)
    shutil.move(gone.home / "mirrors", gone.home / "mirrors-of-a-machine-that-is-off")

    second = left.start(**SHORT)
    async with api_of(left) as api:
        await asyncio.gather(*(watched(api, run) for run in [*judged, worked]))
        rows = [await asked(api, "GET", f"/runs/{run}") for run in [*judged, worked]]
        reports = [await asked(api, "GET", f"/runs/{run}/report") for run in judged]
        tasks = [await asked(api, "GET", f"/tasks/{row['task_id']}") for row in rows]
    await left.end(second)

    assert [row["state"] for row in rows] == ["FINISHED", "FINISHED", "LOST"]
    assert [report["verdict"] for report in reports] == ["passed", "passed"]
    assert str(gone.home) in rows[-1]["cause"]
    assert (tasks[-1]["status"], tasks[-1]["retry_count"]) == ("QUEUED", 0)
    for row in rows[:2]:
        assert "begun_again" in await kinds_of(left, row["id"])
        assert {box["n"] for box in row["sandboxes"]} == {0, 1}
    for home in homes:
        await assert_sound(home)


async def kinds_of(home, run):
    async with home.sessions() as session:
        query = select(RunEvent.kind).where(RunEvent.run_id == run)
        return list(await session.scalars(query))

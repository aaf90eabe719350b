"""A home that real runs have filled is collected, while a sandbox lives on trees whose blobs go."""

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest
from fleet_kit import BREAKS, PASSES, a_fleet, launched
from sandbox_fixtures import docker_provider
from sandbox_kit import Kit, archive
from sqlalchemy import select, text

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.gate_reports.service import read_report
from control_plane.judgements.models import Judgement
from control_plane.retention.collector import Collector
from control_plane.retention.rules import Keep, Kind, names_in
from control_plane.runs.models import Run
from sandboxes.docker.workspaces import OverlayWorkspaces
from sandboxes.spec import Ended

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

DAY = timedelta(days=1)
KEEP = Keep(results=365 * DAY, logs=30 * DAY, outputs=30 * DAY, prepared=30 * DAY, unnamed=2 * DAY)
LONG_AGO = """
UPDATE runs SET finished_at = finished_at - interval '100 days';
UPDATE environments SET used_at = used_at - interval '100 days';
UPDATE snapshots SET used_at = used_at - interval '100 days'
"""
USES = """
import os, pathlib, time
while not os.path.exists("/tmp/go"):
    time.sleep(0.1)
names = ("readme.md", "/env/lib/mod.py", "/env/lib/two.py")
told = [pathlib.Path(one).read_text() for one in names]
pathlib.Path("/out/out.txt").write_text("".join(told))
pathlib.Path("new").write_text("made after the collection")
"""


@pytest.fixture
async def fleet(database):
    async with a_fleet(database) as fleet:
        yield fleet


@pytest.fixture
async def kit(fleet, python_image):
    """Specs whose blobs lie among those of the home."""
    return Kit(fleet.home, python_image)


@pytest.fixture
async def provider(fleet, kit, docker_client, slots):
    made = docker_provider(docker_client, kit, fleet.home / "docker", OverlayWorkspaces(slots))
    yield made
    async for summary in made.owned():
        await made.destroy(summary.id)


async def test_what_is_kept_what_goes_and_who_lives_meanwhile(fleet, kit, provider, docker_client):
    judged = await filled(fleet)
    layers = (*kit.environment, kit.blob(archive({"lib/two.py": b"Y = 2\n"})))
    sandbox = await provider.launch(kit.spec(USES, environment=layers))
    unused = kit.trees(fleet.home / "docker").use([kit.blob(archive({"x": b"x"}))], 0, "gone")
    kit.trees(fleet.home / "docker").give_up("gone")
    await aged(fleet)
    collector = Collector(fleet.sessions, fleet.blobs, fleet.mirrors, KEEP)
    there = await held(fleet)

    surveyed = await collector.survey()
    done = await collector.collect()
    kit.trees(fleet.home / "docker", max_bytes=0).trim()
    left = await held(fleet)

    assert surveyed.gone == done.gone
    assert sum(there.values()) - sum(left.values()) == done.gone_bytes > 0
    assert done.kept.keys() >= {Kind.LIVE, Kind.PATCH, Kind.REPORT, Kind.CAPSULE}
    assert {Kind.LOG, Kind.OUTPUT, Kind.INPUT, Kind.UNNAMED} <= done.gone.keys()
    assert not {kit.base, *layers} & left.keys(), "no row names them"
    assert not unused.exists()
    await a_report_still_reads(fleet, judged, there.keys())
    assert await left_of(docker_client, provider, sandbox, kit) == "hello\nX = 1\nY = 2\n"


async def filled(fleet):
    """Sessions, judgements, an environment, base's results, logs; one session lives on."""
    process = fleet.start()
    runs = [(await fleet.submit(f"echo words; {one}"))[1] for one in (PASSES, BREAKS, "exit 3")]
    await fleet.ended(*runs, within_s=300)
    _, lives = await fleet.submit("sleep 600")
    await fleet.until(lives, launched("execute"), 300)
    fleet.killed(process)
    return runs[0]


async def aged(fleet):
    async with fleet.sessions.begin() as session:
        for statement in LONG_AGO.split(";"):
            await session.execute(text(statement))
    store = DirectoryBlobs(fleet.home / "blobs")
    then = (datetime.now(UTC) - 100 * DAY).timestamp()
    async for kept in fleet.blobs.every():
        os.utime(store.path(kept.sha256), (then, then))


async def held(fleet):
    return {kept.sha256: kept.size_bytes async for kept in fleet.blobs.every()}


async def a_report_still_reads(fleet, run, before):
    """It, its patch, and all of what was there that it names."""
    async with fleet.sessions() as session:
        query = select(Judgement).join(Run, Run.id == Judgement.run_id)
        judgement = await session.scalar(query.where(Run.task_id == run.task_id))
    report = await read_report(fleet.blobs, judgement.report_sha256)
    content = await fleet.blobs.read(judgement.report_sha256, 2**20)
    assert report["verdict"] == "passed"
    assert {*names_in(content), judgement.patch_sha256} & before <= (await held(fleet)).keys()


async def left_of(client, provider, sandbox, kit):
    """What the sandbox found in its trees after the collection; its end, and its change."""
    made = client.exec_create(sandbox, ["/bin/sh", "-c", ": > /tmp/go"])
    await asyncio.to_thread(client.exec_start, made["Id"])
    outcome = await provider.wait(sandbox)
    assert outcome.ended is Ended.COMPLETED, outcome.detail
    assert set(kit.changes(outcome)) == {"new"}
    return kit.read(outcome.outputs["out.txt"]).decode()

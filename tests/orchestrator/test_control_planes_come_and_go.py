"""Control planes that are killed, stopped, doubled, replaced while sandboxes live (F13-F17)."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from fleet_kit import BREAKS, PASSES, launched
from history_kit import assert_sound
from sqlalchemy import select

from control_plane.runs.models import Run
from control_plane.runs.rules import TERMINAL, RunState
from quality_gates.model import Verdict

SEED = int(os.environ.get("VSC_TEST_SEED", "4713"))
TASKS, KILLS = 50, 12
SCRIPTS = {
    Verdict.PASSED: f"{PASSES}; echo noted > note",
    Verdict.FAILED: BREAKS,
    "fails": "exit 3",
    "nothing": "true",
    "cancelled": "sleep 600",
}
FAKETIME = Path(__file__).parents[2] / "build" / "faketime"


@pytest.mark.timeout(600)
async def test_random_kills_over_fifty_tasks(fleet):
    """F13: two control planes are killed at random while fifty tasks pass through."""
    chance = random.Random(SEED)  # noqa: S311 -- not a secret
    wanted = [chance.choices(list(SCRIPTS), [6, 3, 6, 6, 3])[0] for _ in range(TASKS)]
    submitted = [await fleet.submit(SCRIPTS[one]) for one in wanted]
    pair = [fleet.start(), fleet.start()]
    cancels = [task for (task, _), one in zip(submitted, wanted, strict=True) if one == "cancelled"]
    for kill in range(KILLS):
        await asyncio.sleep(chance.uniform(0.5, 5.0))
        fleet.killed(pair[kill % 2])
        pair[kill % 2] = fleet.start()
        if cancels and kill % 3 == 0:
            await fleet.cancel(cancels.pop())
    for task in cancels:
        await fleet.cancel(task)

    ended = await fleet.ended(*(run for _, run in submitted), within_s=400)
    await_end = [await fleet.end(process) for process in pair]

    told = {
        "fails": (RunState.FINISHED, Verdict.FAILED),
        "nothing": (RunState.FINISHED, Verdict.FAILED),
        "cancelled": (RunState.CANCELLED, None),
    }
    expected = [told.get(one, (RunState.FINISHED, one)) for one in wanted]
    assert await_end == [0, 0]
    wrong = [
        (n, wanted[n], run.state, run.verdict, run.cause)
        for n, (run, end) in enumerate(zip(ended, expected, strict=True))
        if (run.state, run.verdict) != end
    ]
    assert wrong == [], f"seed {SEED}"
    await assert_sound(fleet)


async def test_a_rolling_restart_leaves_sandboxes_to_the_next(fleet):
    """F14: SIGTERM to N while tasks run, N+1 adopts."""
    first = fleet.start()
    runs = [(await fleet.submit(f"{PASSES}; sleep 4; echo {n} > n"))[1] for n in range(3)]
    for run in runs:
        await fleet.until(run, launched("execute"))

    code = await fleet.end(first)
    second = fleet.start()
    ended = await fleet.ended(*runs)
    await fleet.end(second)

    assert code == 0
    assert [run.verdict for run in ended] == [Verdict.PASSED] * 3
    await assert_sound(fleet)


async def test_two_orchestrators_share_the_work_and_nothing_is_done_twice(fleet):
    """F15: each run is claimed by one at a time; both have their part."""
    pair = [fleet.start(), fleet.start()]
    for process in pair:
        await fleet.at_work(process)
    runs = [(await fleet.submit(f"{PASSES}; echo two{n} > n"))[1] for n in range(12)]
    owners = Counter()
    async with asyncio.timeout(120):
        while True:
            async with fleet.sessions() as session:
                tasks = [run.task_id for run in runs]
                rows = list(await session.scalars(select(Run).where(Run.task_id.in_(tasks))))
            owners.update(row.lease_owner for row in rows if row.lease_owner)
            if all(row.state in TERMINAL for row in rows):
                break
            await asyncio.sleep(0.05)
    ended = await fleet.ended(*runs)
    for process in pair:
        await fleet.end(process)

    assert [run.verdict for run in ended] == [Verdict.PASSED] * 12
    assert len(owners) == 2
    await assert_sound(fleet)


async def test_one_that_slept_past_its_lease_writes_nothing_any_more(fleet):
    """F16: SIGSTOP while its run's sandbox lives; another takes over; then SIGCONT."""
    first = fleet.start()
    _, run = await fleet.submit(f"{PASSES}; sleep 5; echo slept > n")
    held, _ = await fleet.until(run, launched("execute"))
    await stopped_between_transactions(fleet, first)

    second = fleet.start()
    await fleet.until(run, lambda now, _: now.lease_epoch > held.lease_epoch)
    first.send_signal(signal.SIGCONT)
    (ended,) = await fleet.ended(run)
    await fleet.end(second)
    _, later = await fleet.submit(f"{PASSES}; echo later > n")
    await fleet.ended(later)  # it has let go of the one, and works on
    await fleet.end(first)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause
    await assert_sound(fleet)


async def stopped_between_transactions(fleet, process):
    """A process that is stopped inside one holds its locks, which is another fault."""
    while True:
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)
        if await fleet.idle_transactions() == 0:
            return
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def libfaketime():
    """The library, installed or fetched beside the build; left out where neither can be."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found and not (FAKETIME / "usr").exists() and shutil.which("apt-get"):
        FAKETIME.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "libfaketime"], cwd=FAKETIME, check=False)
        for package in FAKETIME.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(FAKETIME)], check=True)
    found += sorted(FAKETIME.glob("usr/lib/*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("no libfaketime here, and none can be fetched")
    return found[0]


@pytest.mark.parametrize(("before", "after"), [("+1h", "-1h"), ("-1h", "+1h")])
async def test_a_wall_clock_that_jumps_decides_nothing(fleet, libfaketime, tmp_path, before, after):
    """F17: leases are of the database's clock, durations of one that nobody sets."""
    clock = tmp_path / "clock"
    clock.write_text(before)
    process = fleet.start(
        LD_PRELOAD=str(libfaketime),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    _, run = await fleet.submit(f"{PASSES}; sleep 4; echo {before} > n")
    await fleet.until(run, launched("execute"))
    (tmp_path / "next").write_text(after)
    (tmp_path / "next").replace(clock)  # no process reads half of it
    ended, boxes = await fleet.until(run, lambda now, _: now.state in TERMINAL)
    await fleet.end(process)

    assert (ended.state, ended.verdict) == (RunState.FINISHED, Verdict.PASSED), ended.cause
    assert {box.n for box in boxes} == {0}
    await assert_sound(fleet)

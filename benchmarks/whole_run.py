"""P3: a whole run of a command, from the queue to the patch, against a bare `docker run` of it."""

import asyncio
import statistics
import subprocess
from pathlib import Path

from benchmarks.company import Bench, open_bench
from benchmarks.lifecycle import COMMAND
from benchmarks.material import release
from benchmarks.paired import Entry, Stopwatch, paired, ratio, say
from benchmarks.trees import UID
from control_plane.runs.rules import RunState
from control_plane.sessions.drivers import CommandDriver
from sandboxes.docker import images, local
from sandboxes.docker.render import seccomp_profile

_PHASES = ("QUEUED", "HYDRATING", "EXECUTING", "DEHYDRATING", "FINISHED")


async def measure(home: Path, rounds: int) -> list[Entry]:
    """By the database's clock: from the row that is queued to the row that names the patch."""
    image = await asyncio.to_thread(images.identity, local.connect(), "python")
    profile = home / "seccomp.json"
    profile.write_text(seccomp_profile())
    library = release(home, "cachetools", "7.3.1", "7.3.2")
    phases: dict[str, list[float]] = {phase: [] for phase in _PHASES[:-1]}
    async with open_bench(home / "run", library.repository) as bench:
        times = await paired(
            "run",
            {
                "docker run": lambda: asyncio.to_thread(_docker_run, image, profile),
                "whole run": lambda: _whole_run(bench, phases),
            },
            rounds,
        )
    for phase, seconds in phases.items():
        say(f"run: {phase}: {statistics.median(seconds[1:]) * 1000:.0f} ms")
    shares = ", ".join(
        f"{phase} {statistics.median(seconds[1:]) * 1000:.0f}" for phase, seconds in phases.items()
    )
    whole, bare = times["whole run"], times["docker run"]
    how = (
        f"a command driver's run from QUEUED to its patch through the orchestrator: {whole}"
        f" (medians in ms: {shares}),"
        f" against `docker run` of {' '.join(COMMAND)} with the same posture: {bare}; n={rounds}"
    )
    return [Entry("P3-run", ratio(whole, bare), 1.05, how)]


async def _whole_run(bench: Bench, phases: dict[str, list[float]]) -> float:
    told = await bench.run(driver=CommandDriver(tuple(COMMAND)))
    if told.run.state is not RunState.FINISHED:
        raise RuntimeError(f"the run ended as {told.run.state}: {told.run.cause}")
    moments = [told.run.created_at, *(told.reached(state) for state in _PHASES[1:])]
    for phase, began, ended in zip(phases, moments, moments[1:], strict=False):
        phases[phase].append((ended - began).total_seconds())
    return (moments[-1] - moments[0]).total_seconds()


def _docker_run(image: str, profile: Path) -> float:
    with Stopwatch() as watch:
        subprocess.run(
            [
                *(
                    "docker",
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "--read-only",
                    "--cap-drop",
                    "ALL",
                    "--pids-limit",
                    "256",
                ),
                *(
                    "--security-opt",
                    "no-new-privileges:true",
                    "--security-opt",
                    f"seccomp={profile}",
                ),
                *("--memory", "2g", "--memory-swap", "2g", "--cpus", "2", "--user", f"{UID}:{UID}"),
                *(
                    "--tmpfs",
                    "/tmp:rw,nosuid,nodev,exec,size=512m",  # noqa: S108 -- inside
                    "--entrypoint",
                    COMMAND[0],
                    image,
                    *COMMAND[1:],
                ),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return watch.seconds

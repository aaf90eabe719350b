"""P7: making a sandbox's disk, on a small and on a large repository, and against a clone."""

import asyncio
import io
import shutil
import subprocess
import uuid

from benchmarks.material import LARGE_FILES, SMALL_FILES
from benchmarks.paired import Entry, Stopwatch, paired, ratio
from benchmarks.trees import LIMITS, UID, Trees
from runners.hydrate import apply_delta
from sandboxes.docker.disk import Disks
from sandboxes.docker.records import Place
from sandboxes.names import SandboxName
from sandboxes.spec import Against, Input, Output, SandboxSpec, Workspace

_RUNNER_BYTES = 120_000
_GOAL_MS = 10.0


async def measure(trees: Trees, rounds: int) -> list[Entry]:
    """All that a provider makes on the host before it asks the engine for a container."""
    disks = Disks(trees.depot, trees.collector(), apply_delta, trees.workspaces, trees.cache, UID)
    files = {
        "/vsc/runner.pyz": b"r" * _RUNNER_BYTES,
        "/vsc/capsule.json": b"{}",
        "/vsc/packet.json": b"{}",
    }
    inputs = tuple(
        Input(path, trees.blobs.put(io.BytesIO(content), len(content)).sha256)
        for path, content in files.items()
    )

    def hydrate(which: str) -> float:
        trees.slots.settle()  # slots are made ahead: what is measured is taking one
        name = str(SandboxName("bench0", uuid.uuid4(), "execute"))
        place = Place(trees.home / "places" / name)
        spec = SandboxSpec(
            name=name,
            image="sha256:" + "0" * 64,
            command=("true",),
            limits=LIMITS,
            inputs=inputs,
            workspace=Workspace(trees.held[which].key, against=Against.BASE),
            outputs=(Output("result.json", 1000),),
        )
        with Stopwatch() as watch:
            disks.prepare(place, spec)
        disks.release(place)
        return watch.seconds

    def clone() -> float:
        target = trees.home / "clone"
        with Stopwatch() as watch:
            subprocess.run(
                ["git", "clone", "--quiet", f"file://{trees.held['large'].source}", str(target)],
                check=True,
            )
        shutil.rmtree(target)
        return watch.seconds

    times = await paired(
        "hydrate",
        {
            "small": lambda: asyncio.to_thread(hydrate, "small"),
            "large": lambda: asyncio.to_thread(hydrate, "large"),
            "clone": lambda: asyncio.to_thread(clone),
        },
        rounds,
    )
    small, large = times["small"], times["large"]
    met = "within" if large.median_s * 1000 <= _GOAL_MS else "above"
    flat = (
        f"make a sandbox's disk (slot made ahead, overlay, 3 inputs) on {LARGE_FILES} files:"
        f" {large}, against {SMALL_FILES} files: {small};"
        f" {met} the absolute goal of {_GOAL_MS:g} ms; n={rounds}"
    )
    against = (
        f"the same on {LARGE_FILES} files, {large},"
        f" against a full clone over file://, {times['clone']}; n={rounds}"
    )
    return [
        Entry("P7-flat", ratio(large, small), 1.5, flat),
        Entry("P7-clone", ratio(large, times["clone"]), 0.02, against),
    ]

"""P8: the trusted patch of a dead sandbox's overlay, on a small and on a large repository.

And against reading everything.
"""

import asyncio
import shutil
import uuid

from benchmarks.material import LARGE_FILES, SMALL_FILES
from benchmarks.paired import Entry, Stopwatch, paired, ratio
from benchmarks.trees import LIMITS, UID, Trees, edit
from sandboxes.ports import Start
from sandboxes.spec import Against


async def measure(trees: Trees, rounds: int) -> list[Entry]:
    """Five files modified, one deleted, one renamed, a text and a binary added, in an overlay."""
    collect = trees.collector()

    def patch(which: str, *, everything: bool = False) -> float:
        trees.slots.settle()
        held, place, into = (
            trees.held[which],
            trees.home / f"disk-{uuid.uuid4().hex}",
            trees.home / "collected",
        )
        disk = trees.workspaces.prepare(place, held.base, UID, LIMITS)
        into.mkdir()
        try:
            if disk.tree is None:
                raise RuntimeError("a disk over a base has a tree")
            edit(disk.tree, held.files)
            with Stopwatch() as watch:
                changed = None if everything else trees.workspaces.changed(place, held.base)
                collect(Start(held.base, None, Against.BASE), disk.tree, changed, into)
            if b"added.bin" not in (into / "change.patch").read_bytes():
                raise RuntimeError("the patch lacks what was added")
        finally:
            shutil.rmtree(into)
            trees.workspaces.release(place)
        return watch.seconds

    times = await paired(
        "patch",
        {
            "small": lambda: asyncio.to_thread(patch, "small"),
            "large": lambda: asyncio.to_thread(patch, "large"),
            "large, everything read": lambda: asyncio.to_thread(patch, "large", everything=True),
        },
        rounds,
    )
    small, large, everything = times.values()
    return [
        Entry(
            "P8-flat",
            ratio(large, small),
            2.0,
            f"trusted patch of 9 changes from the overlay's upper directory"
            f" on {LARGE_FILES} files: {large},"
            f" against {SMALL_FILES} files: {small}; n={rounds}",
        ),
        Entry(
            "P8-rehash",
            ratio(large, everything),
            0.15,
            f"the same on {LARGE_FILES} files, {large},"
            f" against reading and hashing every file, {everything}; n={rounds}",
        ),
    ]

"""A made repository as the platform holds it: a base snapshot, and disks on slots over it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from benchmarks.material import LARGE_FILES, SMALL_FILES, file_name, made_repository
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.processes.engines import Collector
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshot_archive import write_snapshot
from runners.tree_rules import PatchLimits
from runners.unpack import unpack
from sandboxes.docker.slots import Size, Slots
from sandboxes.docker.workspaces import OverlayWorkspaces
from sandboxes.ports import Collect
from sandboxes.spec import Limits
from sandboxes.tree_cache import TreeCache

UID = 10001
LIMITS = Limits(deadline_s=60.0)
SIZES = {"small": SMALL_FILES, "large": LARGE_FILES}


@dataclass(frozen=True, slots=True)
class Held:
    """One made repository: where it came from, and the blob and the unpacked tree of its head."""

    source: Path
    key: str
    base: Path
    files: int


@dataclass(frozen=True, slots=True)
class Trees:
    """The small and the large repository, with blobs and slots beside them."""

    home: Path
    blobs: DirectoryBlobs
    depot: LocalDepot
    cache: TreeCache
    held: dict[str, Held]
    slots: Slots
    workspaces: OverlayWorkspaces

    def collector(self) -> Collect:
        """The trusted patch as the provider calls it."""
        return Collector(PatchLimits())

    def close(self) -> None:
        """Give back the slots."""
        self.workspaces.close()


async def open_trees(home: Path) -> Trees:
    """Make both. Takes a few seconds."""
    depot = LocalDepot(blobs := DirectoryBlobs(home / "blobs"))
    cache = TreeCache(home / "trees", depot, unpack, 2**32)
    held = {name: await _held(home, depot, cache, name, files) for name, files in SIZES.items()}
    slots = Slots(home / "slots", ahead=3)
    slots.want(Size(LIMITS.disk_bytes, LIMITS.disk_files))
    slots.settle()
    return Trees(home, blobs, depot, cache, held, slots, OverlayWorkspaces(slots))


async def _held(home: Path, depot: LocalDepot, cache: TreeCache, name: str, files: int) -> Held:
    source = made_repository(home / f"{name}.git", files)
    mirrors = Mirrors(home / "mirrors")
    commit = await mirrors.import_path(name, source)
    with (home / f"{name}.archive").open("w+b") as file:
        await write_snapshot(mirrors.git(name), commit, cast("IO[bytes]", file))
        file.seek(0)
        key = depot.put(file, 2**32).sha256
    return Held(source, key, cache.use([key], UID, "bench"), files)


def edit(tree: Path, files: int) -> None:
    """What an agent might do: five files modified, one deleted, one renamed, two added.

    A text, and a binary of 64 KB.
    """
    paths = [tree / file_name(number * (files // 10)) for number in range(7)]
    for path in paths[:5]:
        path.write_text(path.read_text() + "# changed\n")
    paths[5].unlink()
    paths[6].rename(paths[6].with_name("renamed.py"))
    (tree / "added.txt").write_text("added\n")
    (tree / "added.bin").write_bytes(os.urandom(64 * 2**10))

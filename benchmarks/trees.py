"""A made repository as the platform holds it: a mirror, a base snapshot, and disks on slots over it."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import LARGE_FILES, SMALL_FILES, file_name, made_repository
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import KIND, Snapshots
from runners import dehydrate
from runners.tree_rules import PatchLimits
from sandboxes.docker.slots import Size, Slots
from sandboxes.docker.workspaces import OverlayWorkspaces
from sandboxes.ports import Collect
from sandboxes.spec import Limits

UID = 10001
LIMITS = Limits(deadline_s=60.0)
SIZES = {"small": SMALL_FILES, "large": LARGE_FILES}


@dataclass(frozen=True, slots=True)
class Held:
    """One made repository: where it came from, its mirror, the tree of its head, and its snapshot."""

    source: Path
    mirror: Path
    tree: str
    key: str
    base: Path
    files: int


@dataclass(frozen=True, slots=True)
class Trees:
    """The small and the large repository, with blobs and slots beside them."""

    home: Path
    blobs: DirectoryBlobs
    depot: LocalDepot
    held: dict[str, Held]
    slots: Slots
    workspaces: OverlayWorkspaces

    def collector(self) -> Collect:
        """The trusted patch as the provider calls it; `against` is `small` or `large`."""

        def collect(
            against: str, tree: Path, changed: Collection[bytes] | None, into: Path
        ) -> None:
            held = self.held[against]
            dehydrate.collect(held.mirror, held.tree, tree, changed, into, PatchLimits())

        return collect

    def close(self) -> None:
        """Give back the slots."""
        self.workspaces.close()


async def open_trees(home: Path) -> Trees:
    """Make both. Takes a few seconds."""
    mirrors = Mirrors(home / "mirrors")
    snapshots = Snapshots(home / KIND, mirrors, UID)
    held = {
        name: await _held(home, mirrors, snapshots, name, files) for name, files in SIZES.items()
    }
    blobs = DirectoryBlobs(home / "blobs")
    slots = Slots(home / "slots", ahead=3)
    slots.want(Size(LIMITS.disk_bytes, LIMITS.disk_files))
    slots.settle()
    return Trees(
        home, blobs, LocalDepot(blobs, {KIND: home / KIND}), held, slots, OverlayWorkspaces(slots)
    )


async def _held(home: Path, mirrors: Mirrors, snapshots: Snapshots, name: str, files: int) -> Held:
    source = made_repository(home / f"{name}.git", files)
    commit = await mirrors.import_path(name, source)
    key = await snapshots.ensure(name, commit)
    return Held(
        source,
        home / "mirrors" / f"{name}.git",
        await mirrors.tree_of(name, commit),
        key,
        snapshots.path(key),
        files,
    )


def edit(tree: Path, files: int) -> None:
    """What an agent might do: five files modified, one deleted, one renamed, a text and a binary of 64 KB added."""
    paths = [tree / file_name(number * (files // 10)) for number in range(7)]
    for path in paths[:5]:
        path.write_text(path.read_text() + "# changed\n")
    paths[5].unlink()
    paths[6].rename(paths[6].with_name("renamed.py"))
    (tree / "added.txt").write_text("added\n")
    (tree / "added.bin").write_bytes(os.urandom(64 * 2**10))

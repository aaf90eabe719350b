"""Where a sandbox's workspace and outputs lie: an overlay on a slot, or a copy under a watchdog."""

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sandboxes.docker import mounts, slots
from sandboxes.docker.slots import Size, Slots
from sandboxes.docker.upper import changed_paths
from sandboxes.spec import Limits


@dataclass(frozen=True, slots=True)
class Disk:
    """The two writable directories of a sandbox.

    `tree` is None for a sandbox without a workspace.
    """

    out: Path
    tree: Path | None


class Workspaces(Protocol):
    """Disks by place: a directory of the sandbox's own, in which everything is made. Blocking."""

    def prepare(self, place: Path, base: Path | None, owner: int, limits: Limits) -> Disk:
        """Make the disk anew; whatever a killed process left half made at `place` is thrown away.

        Raises OSError.
        """

    def reopen(self, place: Path, base: Path | None) -> Disk:
        """The disk that was made at `place`, as it is now.

        Mounted again if a reboot took its mounts. Raises OSError.
        """

    def changed(self, place: Path, base: Path) -> set[bytes] | None:
        """The paths that can differ from `base`; None: nobody knows. Raises HostileTree."""

    def used_bytes(self, place: Path) -> int | None:
        """What is in use, if a watchdog must look; None: the file system itself holds the limit."""

    def release(self, place: Path) -> None:
        """Unmount and remove everything at `place`; twice is harmless."""

    def close(self) -> None:
        """Give back what was made ahead. Disks in use stay."""

    def describe(self) -> str:
        """One sentence for an operator: what holds a sandbox's disk limit here."""


class OverlayWorkspaces:
    """An overlay over the shared base, its upper directory on a slot whose size the kernel holds.

    Needs root.

    `redirect_dir=nofollow`, `metacopy=off`: every changed file is whole in the upper directory,
    under its own name, so that the walk of it is the truth. A rename of a directory of the base is
    EXDEV, on which tools copy.
    """

    _OPTIONS = "redirect_dir=nofollow,metacopy=off,index=off"

    def __init__(self, pool: Slots) -> None:
        self._pool = pool

    def prepare(self, place: Path, base: Path | None, owner: int, limits: Limits) -> Disk:
        """A slot made ahead, and one mount over the base: the same time for any size of base."""
        self.release(place)
        place.mkdir(parents=True, mode=0o700)
        self._pool.take(Size(limits.disk_bytes, limits.disk_files), place / "slot")
        files = place / "slot" / "fs"
        os.chown(files / "out", owner, owner)
        if base is not None:
            shown = base.stat()
            os.chown(files / "upper", shown.st_uid, shown.st_gid)
            (files / "upper").chmod(shown.st_mode & 0o777)
        return self.reopen(place, base)

    def reopen(self, place: Path, base: Path | None) -> Disk:
        """Mount the slot and the overlay, as far as they are not."""
        slot, tree = place / "slot", place / "tree"
        slots.reopen(slot)
        if base is None:
            return Disk(slot / "fs" / "out", None)
        tree.mkdir(exist_ok=True, mode=0o755)
        if not tree.is_mount():
            layers = f"lowerdir={_escaped(base)},upperdir={_escaped(slot / 'fs' / 'upper')}"
            flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOATIME
            mounts.mount(
                "overlay",
                tree,
                "overlay",
                flags,
                f"{layers},workdir={_escaped(slot / 'fs' / 'work')},{self._OPTIONS}",
            )
        return Disk(slot / "fs" / "out", tree)

    def changed(self, place: Path, base: Path) -> set[bytes] | None:
        """From the overlay's upper directory."""
        return changed_paths(place / "slot" / "fs" / "upper", base)

    def used_bytes(self, place: Path) -> int | None:  # noqa: ARG002 - the port's shape
        """The slot's own size is the limit."""
        return None

    def release(self, place: Path) -> None:
        """Unmount, and give the slot back with all that is on it, without a walk."""
        mounts.unmount(place / "tree")
        with suppress(FileNotFoundError):
            (place / "tree").rmdir()
        self._pool.give_back(place / "slot")
        with suppress(OSError):
            place.rmdir()
        if place.exists():
            _remove(place)  # what remains was made by copying, before this host had root

    def close(self) -> None:
        """Give back the slots made ahead."""
        self._pool.close()

    def describe(self) -> str:
        """The kernel holds it."""
        return (
            "overlays on file systems of a fixed size; the kernel holds every sandbox's disk limit"
        )


class CopyWorkspaces:
    """A copy of the base, for hosts without root. Nothing but a look once a second holds its size.

    What can be written between two looks is the overshoot: with a disk of 1 GB/s, about 1 GB for
    each running sandbox.
    """

    def prepare(self, place: Path, base: Path | None, owner: int, limits: Limits) -> Disk:  # noqa: ARG002 - watched
        """A copy of the base with its owners, modes and times."""
        self.release(place)
        place.mkdir(parents=True, mode=0o700)
        out = place / "out"
        out.mkdir(mode=0o755)
        if os.geteuid() == 0:
            os.chown(out, owner, owner)
        if base is not None:
            _run("cp", "-a", "--reflink=auto", "--", f"{base}/.", f"{_made(place / 'tree', base)}/")
        (place / "base-bytes").write_text(str(_disk_bytes(place)))
        return self.reopen(place, base)

    def reopen(self, place: Path, base: Path | None) -> Disk:
        """There is nothing to mount."""
        return Disk(place / "out", None if base is None else place / "tree")

    def changed(self, place: Path, base: Path) -> set[bytes] | None:  # noqa: ARG002 - the port's shape
        """Nobody knows."""
        return None

    def used_bytes(self, place: Path) -> int | None:
        """What `du` counts beyond the base; holes count nothing."""
        if not (place / "base-bytes").exists():
            return None
        return max(0, _disk_bytes(place) - int((place / "base-bytes").read_text()))

    def release(self, place: Path) -> None:
        """Remove the copy."""
        if (
            place.exists()
        ):  # chmod first: without root, an unreadable directory cannot be emptied even by its owner
            if os.geteuid() != 0:
                subprocess.run(
                    ["chmod", "-R", "u+rwX", "--", str(place)], capture_output=True, check=False
                )
            _run(
                "rm", "-rf", "--one-file-system", "--", str(place)
            )  # rm: any depth, where a recursion of ours would end

    def close(self) -> None:
        """Nothing is made ahead."""

    def describe(self) -> str:
        """The watchdog holds it, with an overshoot."""
        return (
            "copies, looked at once a second: a sandbox can pass its disk limit by what it writes "
            "in about a second; run as root for an exact limit"
        )


def best_workspaces(home: Path, ahead: int = 2) -> Workspaces:
    """Overlays where nothing is `lacking`; copies elsewhere."""
    return CopyWorkspaces() if lacking() else OverlayWorkspaces(Slots(home / "slots", ahead))


def lacking() -> list[str]:
    """What to do on this host before its workspaces can be overlays."""
    needs = {
        "run as root": os.geteuid() == 0,
        "load loop devices: modprobe loop": Path("/dev/loop-control").exists(),
        "install mkfs.ext4: the package e2fsprogs": shutil.which("mkfs.ext4") is not None,
    }
    return [what for what, there in needs.items() if not there]


def _made(directory: Path, like: Path) -> Path:
    directory.mkdir()
    shown = like.stat()
    if os.geteuid() == 0:
        os.chown(directory, shown.st_uid, shown.st_gid)
    directory.chmod(shown.st_mode & 0o777)
    return directory


def _escaped(path: Path) -> str:
    """A path as an overlay option: commas and colons divide options and layers."""
    return "".join(f"\\{c}" if c in "\\,:" else c for c in str(path))


def _disk_bytes(place: Path) -> int:
    # Not check=True: a file that vanishes under du makes it exit 1, and the total is right all the
    # same.
    counted = subprocess.run(
        ["du", "-s", "-B1", "--", str(place)], capture_output=True, text=True, check=False
    )
    return int(counted.stdout.split("\t")[0] or 0)


def _remove(directory: Path) -> None:
    # rm copes with any depth, where a recursion of ours would end.
    _run("rm", "-rf", "--one-file-system", "--", str(directory))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")

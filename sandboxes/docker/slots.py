"""Slots: small file systems made ahead, so that a sandbox's disk is taken by one rename.

A slot is a directory with a sparse ext4 image, mounted at `fs` beside it. A rename of the directory
carries image, mount and loop device along; after it they bear the sandbox's name.
"""

import errno
import os
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import lock_descriptor

from sandboxes.docker import mounts

_FORMAT = 1
"""Counts changes of how templates are formatted; one of another number is not used."""

_INODE_BYTES = 256
_OVERHEAD_BYTES = 512 * 2**10
_DRAFT_S = 600.0
_MAKING, _SPENT = "making-", "spent-"

# No journal and no barriers: a slot need not survive a power cut, and an agent's fsync must not
# reach the host's disk.
_OPTIONS = "noinit_itable,barrier=0,errors=remount-ro"


@dataclass(frozen=True, slots=True)
class Size:
    """What a slot holds; slots of one size are alike."""

    data_bytes: int
    files: int

    def __str__(self) -> str:
        return f"{self.data_bytes}-{self.files}"


class Slots:
    """A pool of slots under `root`.

    Any number of processes may share it: taking one is a rename, which one of them wins.
    """

    def __init__(self, root: Path, ahead: int = 2, sizes: int = 4) -> None:
        self._root, self._ahead, self._sizes = root, ahead, sizes
        self._wanted: list[Size] = []
        self._wake, self._idle = threading.Event(), threading.Event()
        self._closed = False
        self._lock = threading.Lock()
        self._filler: threading.Thread | None = None

    def take(self, size: Size, into: Path) -> None:
        """Move a slot to `into`, which must not exist: one made ahead, or one made now.

        Raises OSError.
        """
        self.want(size)
        for slot in self._ready(size):
            with suppress(FileNotFoundError, FileExistsError):
                slot.rename(into)  # a lost race is FileNotFoundError: the next one, then
                self._wake.set()
                return
        with self._made() as slot:
            _make(slot, size)
            slot.rename(into)

    def give_back(self, slot: Path) -> None:
        """Take a slot off its sandbox at once.

        Its space is freed a moment later, by the thread that makes slots.
        """
        if self._filler is None or not self._filler.is_alive():
            discard(slot)
            return
        with suppress(FileNotFoundError):
            slot.rename(self._root / f"{_SPENT}{uuid.uuid4().hex}")
        self._idle.clear()
        self._wake.set()

    def want(self, size: Size) -> None:
        """Keep slots of this size ready from now on.

        The sizes asked for last are kept, the others are given up.
        """
        with self._lock:
            self._wanted = [size, *(known for known in self._wanted if known != size)][
                : self._sizes
            ]
            if self._filler is None and self._ahead and not self._closed:
                self._filler = threading.Thread(target=self._fill, name="vsc-slots", daemon=True)
                self._filler.start()
        self._idle.clear()
        self._wake.set()

    def settle(self, timeout_s: float = 30.0) -> bool:
        """Wait until every wanted slot is there. For benchmarks and for a quiet start."""
        return self._idle.wait(timeout_s)

    def close(self) -> None:
        """Stop making slots and give back those not taken."""
        with self._lock:
            self._closed, filler = True, self._filler
        self._wake.set()
        if filler is not None:
            filler.join()
        for slot in self._all():
            self._discard(slot)
        self._discard_spent()

    def _fill(self) -> None:
        os.setpriority(
            os.PRIO_PROCESS, threading.get_native_id(), 10
        )  # of this thread: sandboxes go first
        self._sweep()
        while not self._closed:
            self._wake.clear()
            self._discard_spent()
            missing = self._missing()
            if missing is None:
                self._discard_unwanted()
                self._idle.set()
                self._wake.wait()
                continue
            try:
                with self._made() as slot:
                    _make(slot, missing)
                    slot.rename(self._root / f"{missing}.{uuid.uuid4().hex}")
            except (OSError, subprocess.SubprocessError):
                # A pool may speed a launch up, never fail one: the launch makes its own slot and
                # shows the reason.
                self._idle.set()
                self._wake.wait(5.0)

    def _missing(self) -> Size | None:
        with self._lock:
            wanted = list(self._wanted)
        counts = Counter(slot.name.partition(".")[0] for slot in self._all())
        return next((size for size in wanted if counts[str(size)] < self._ahead), None)

    def _sweep(self) -> None:
        """Discard what a killed process left half made, and slots without a mount (a reboot)."""
        for draft in self._root.glob("template-*.*"):
            with suppress(FileNotFoundError):  # it was renamed, or swept by somebody else
                if time.time() - draft.stat().st_mtime > _DRAFT_S:
                    draft.unlink()
        for left in self._root.glob(f"{_MAKING}*"):
            with suppress(OSError), _held(left):  # its maker holds it as long as it lives
                self._discard(left)
        for slot in self._all():
            with suppress(OSError):
                if not (slot / "fs").is_mount():
                    self._discard(slot)

    def _discard_spent(self) -> None:
        for spent in self._root.glob(f"{_SPENT}*"):
            with suppress(
                OSError
            ):  # still held somewhere: the next round, or the next process, tries again
                discard(spent)

    def _discard_unwanted(self) -> None:
        """Free slots of sizes nobody asked for lately, once the pool holds more than it may."""
        with self._lock:
            wanted = {str(size) for size in self._wanted}
        slots = self._all()
        unwanted = [slot for slot in slots if slot.name.partition(".")[0] not in wanted]
        for slot in unwanted[: max(0, len(slots) - self._ahead * self._sizes)]:
            with suppress(OSError):
                self._discard(slot)

    def _ready(self, size: Size) -> Iterator[Path]:
        return (slot for slot in sorted(self._root.glob(f"{size}.*")) if _is_mounted(slot))

    def _all(self) -> list[Path]:
        return list(self._root.glob("[0-9]*.*"))

    def _discard(self, slot: Path) -> None:
        spent = self._root / f"{_SPENT}{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            slot.rename(spent)  # whoever takes slots must not see it any more
            discard(spent)

    @contextmanager
    def _made(self) -> Iterator[Path]:
        with ExitStack() as held:
            slot = self._held_from_the_start(held)
            try:
                yield slot
            finally:
                if slot.exists():
                    discard(slot)

    def _held_from_the_start(self, held: ExitStack) -> Path:
        """A new directory that is ours: whoever sweeps may take one before its maker holds it."""
        while True:
            slot = self._root / f"{_MAKING}{uuid.uuid4().hex}"
            slot.mkdir(parents=True, mode=0o700)
            with suppress(FileNotFoundError, BlockingIOError):
                held.enter_context(_held(slot))
                if slot.exists():
                    return slot


def _is_mounted(slot: Path) -> bool:
    """False also for one that is taken away while it is looked at."""
    with suppress(FileNotFoundError):
        return (slot / "fs").is_mount()
    return False


def reopen(slot: Path) -> None:
    """Mount a taken slot again, if a reboot took its mount away."""
    if not (slot / "fs").is_mount():
        mounts.mount_image(slot / "image", slot / "fs", _OPTIONS)


def discard(slot: Path) -> None:
    """Unmount and remove a slot; twice is harmless."""
    mounts.unmount(slot / "fs")
    for remove, path in (
        ((Path.unlink), slot / "image"),
        (Path.rmdir, slot / "fs"),
        (Path.rmdir, slot),
    ):
        _gone(remove, path)


def _make(slot: Path, size: Size) -> None:
    _copy_sparse(_template(slot.parent, size), slot / "image")
    (slot / "fs").mkdir(mode=0o700)
    mounts.mount_image(slot / "image", slot / "fs", _OPTIONS)
    (slot / "fs" / "lost+found").rmdir()
    for name in ("upper", "work", "out"):
        (slot / "fs" / name).mkdir(mode=0o755)


def _template(root: Path, size: Size) -> Path:
    """An empty file system of that size, formatted once.

    A copy of what little it holds is 10 times quicker than mkfs.
    """
    template = root / f"template-{_FORMAT}-{size}"
    if not template.exists():
        draft = root / f"{template.name}.{uuid.uuid4().hex}"
        try:
            _format(draft, size)
            draft.rename(template)
        finally:
            draft.unlink(missing_ok=True)
    return template


def _format(image: Path, size: Size) -> None:
    with image.open("xb") as file:
        file.truncate(
            size.data_bytes + size.files * _INODE_BYTES + _OVERHEAD_BYTES + size.data_bytes // 4096
        )
    image.chmod(0o600)
    command = [
        "mkfs.ext4",
        "-q",
        "-F",
        "-O",
        "^has_journal,^resize_inode",
        "-m",
        "0",
        "-I",
        str(_INODE_BYTES),
    ]
    command += [
        "-N",
        str(size.files),
        "-E",
        "lazy_itable_init=1,nodiscard,root_owner=0:0",
        str(image),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if made.returncode:
        raise OSError(
            f"mkfs.ext4 could not make a {size.data_bytes}-byte slot: {made.stderr.strip()}"
        )


def _copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as written:
        target.chmod(0o600)
        end = os.fstat(read.fileno()).st_size
        written.truncate(end)
        at = 0
        while at < end:
            try:
                at = os.lseek(read.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # only a hole is left
            until = os.lseek(read.fileno(), at, os.SEEK_HOLE)
            while at < until:
                at += os.copy_file_range(read.fileno(), written.fileno(), until - at, at, at)


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold a directory's lock, or raise OSError if somebody alive does."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not lock_descriptor(handle, blocking=False):
            raise BlockingIOError(errno.EWOULDBLOCK, "somebody alive holds it", str(directory))
        yield
    finally:
        os.close(handle)


def _gone(remove: Callable[[Path], None], path: Path) -> None:
    with suppress(FileNotFoundError):
        remove(path)

"""What a dead sandbox left: outputs taken whole or refused, and what the collector makes."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sandboxes.errors import BlobMissing, ProviderUnavailable, TooLarge
from sandboxes.ports import Collect, Depot, Start
from sandboxes.spec import Artifact, Output

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_OF_THE_MACHINE = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EIO}
)
"""No tree can bring these about: its limits are its own."""


@dataclass(slots=True)
class Remains:
    """What was taken, and what was not."""

    outputs: dict[str, Artifact] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    collected: dict[str, Artifact] = field(default_factory=dict)
    uncollected: str = ""
    """Why the collection failed; empty: it did not."""


def take_outputs(out: Path, wanted: Iterable[Output], depot: Depot, remains: Remains) -> None:
    """Put the wanted files of `out` into the depot.

    Only plain files, never through a link, never more than the limit.

    A file that is not there is in neither list. The sandbox must be dead.
    """
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for output in wanted:
            _take(handle, output, depot, remains)
    finally:
        os.close(handle)


def collect_tree(
    collect: Collect,
    depot: Depot,
    *,
    start: Start,
    tree: Path,
    changed: Callable[[], Collection[bytes] | None],
    into: Path,
    max_bytes: int,
    remains: Remains,
) -> None:
    """Run the collector and put the files it made into the depot.

    A tree so hostile that the collector gives up twice is the sandbox's doing and goes on record.
    A collector that lacks a blob, or a machine that lacks memory, files or disk, is the platform's
    trouble: it is raised, to be tried again.

    Raises BlobMissing, ProviderUnavailable.
    """
    for failures in range(2):
        try:
            _collect_anew(into, lambda: collect(start, tree, changed(), into))
            break
        except (BlobMissing, ProviderUnavailable):
            raise
        except Exception as failure:  # noqa: BLE001 - hostile bytes can raise anything; a run must end all the same
            if failures:
                remains.uncollected = f"{type(failure).__name__}: {failure}"
                return
    for file in sorted(into.iterdir()):
        with file.open("rb") as source:
            try:
                remains.collected[file.name] = depot.put(source, max_bytes)
            except TooLarge:
                remains.uncollected = f"{file.name} is larger than {max_bytes} bytes"


def _collect_anew(into: Path, collect: Callable[[], None]) -> None:
    """Into an empty directory: an earlier try may have been cut off."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    try:
        collect()
    except OSError as error:
        if error.errno in _OF_THE_MACHINE:
            raise ProviderUnavailable(f"a dead tree cannot be collected now: {error}") from error
        raise


def _take(out: int, output: Output, depot: Depot, remains: Remains) -> None:
    try:
        # O_NONBLOCK: opening a fifo must not wait for a writer.
        handle = os.open(
            output.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=out
        )
    except FileNotFoundError:
        return
    except OSError as error:
        remains.refused[output.name] = _why_closed(out, output.name, error)
        return
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            remains.refused[output.name] = f"not a plain file but {_kind(found.st_mode)}"
        elif found.st_size > output.max_bytes:
            remains.refused[output.name] = f"{found.st_size} bytes; the limit is {output.max_bytes}"
        else:
            with os.fdopen(handle, "rb", closefd=False) as source:
                remains.outputs[output.name] = depot.put(source, output.max_bytes)
    except TooLarge:
        remains.refused[output.name] = f"more than {output.max_bytes} bytes"
    finally:
        os.close(handle)


def _why_closed(out: int, name: str, error: OSError) -> str:
    with suppress(OSError):
        found = os.stat(name, dir_fd=out, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return f"not a plain file but {_kind(found.st_mode)}"
    return f"it cannot be opened: {error.strerror}"


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")

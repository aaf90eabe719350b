"""The driver that fills an environment and packs it: tools one after another, then one archive in canonical form."""

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from runners.drivers import Surroundings
from runners.protocol import ENV, Driver
from runners.verify import run_plan

ARCHIVE = "env.tar"


class CannotPack(Exception):
    """The environment holds something that an archive of ours does not carry.

    The set-up commands must not make it.
    """


def prepare(driver: Driver, surroundings: Surroundings) -> int:
    """0 and the archive in the outputs, or 1 at the first tool that fails."""
    for tool in driver.tools:
        (result,) = run_plan((replace(tool, after=()),), surroundings)
        if result.exit_code != 0:
            surroundings.explain(f"{tool.name} failed; the tools after it did not run")
            return 1
    environment = Path(driver.environ.get("VSC_ENV_DIR", ENV))
    try:
        write_canonical_tar(environment, surroundings.out / ARCHIVE)
    except (CannotPack, OSError) as error:
        surroundings.explain(f"cannot pack {environment}: {error}")
        return 1
    return 0


def write_canonical_tar(directory: Path, archive: Path) -> None:
    """Pack everything below `directory`; the same tree gives the same bytes on any day and machine.

    Sorted names, no times, no owners, modes 755 or 644; a hard link is packed as a file of its own.
    Raises CannotPack for a device, fifo, socket or set-id file: nothing is left out silently.
    """
    with tarfile.open(
        archive, "x", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for path in _sorted_below(directory):
            member = _member(path, str(path.relative_to(directory)))
            if member.isreg():
                with path.open("rb") as file:
                    tar.addfile(member, file)
            else:
                tar.addfile(member)


def _sorted_below(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _sorted_below(Path(entry.path))


def _member(path: Path, name: str) -> tarfile.TarInfo:
    status = path.lstat()
    member = tarfile.TarInfo(name)  # its defaults: no time, root's ids, no names
    executable = bool(status.st_mode & 0o111)
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o6000:
        raise CannotPack(f"{name!r} is a set-id file")
    if stat.S_ISDIR(status.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, str(path.readlink())
    elif stat.S_ISREG(status.st_mode):
        member.size, member.mode = status.st_size, 0o755 if executable else 0o644
    else:
        raise CannotPack(f"{name!r} is neither a file, a directory nor a link")
    return member

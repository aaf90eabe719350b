"""The directory of a sandbox's outputs.

Hostile code of the same uid may have filled, locked or booby-trapped it.
"""

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from runners.protocol import RESULT, Result

_BALLAST_BYTES = 256 * 2**10


class Outbox:
    """Opened before the driver starts.

    Keeps an unlinked file's room, so that a full disk still takes the result.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._ballast: int | None = None
        with contextlib.suppress(OSError):
            self._ballast = self._new_file(name := f".ballast-{os.urandom(8).hex()}")
            os.unlink(name, dir_fd=self._directory)
            os.posix_fallocate(self._ballast, 0, _BALLAST_BYTES)

    def write_result(self, result: Result) -> None:
        """Put `result.json` there whole or not at all, in place of whatever has taken its name.

        Raises OSError.
        """
        self._make_room()
        temporary = f".{RESULT}-{os.urandom(8).hex()}"
        fd = self._new_file(temporary)
        with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 -- a descriptor, not a path
            json.dump(
                asdict(result), file
            )  # no fsync: the reader is on this kernel, and a lost machine is a lost sandbox
        try:
            os.rename(temporary, RESULT, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError:  # a directory of that name
            aside = f".aside-{os.urandom(8).hex()}"
            os.rename(RESULT, aside, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.rename(temporary, RESULT, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _make_room(self) -> None:
        if self._ballast is not None:
            os.close(self._ballast)
            self._ballast = None
        with contextlib.suppress(
            OSError
        ):  # not ours to change: then nobody of our uid has locked it either
            os.fchmod(self._directory, os.fstat(self._directory).st_mode & 0o7777 | 0o700)

    def _new_file(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o644, dir_fd=self._directory)

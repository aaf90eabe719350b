"""Binding a door's sockets in its directory, so that nothing of it can lead elsewhere."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import lock_descriptor

from sandboxes.doors import DoorDirectory


class Served(Exception):
    """Another gateway serves this door; it stays the one until it ends."""


class NoDirectory(Exception):
    """The directory is not there (yet, or any more); the sandbox's side makes and removes it."""


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A listening socket of ours, and the file that it is."""

    listener: socket.socket
    name: str
    inode: int


class Claim:
    """The right to serve one door, held by one gateway of this host and let go with its process.

    It is a lock on the directory's parent, which no sandbox sees: nothing is created that somebody
    must remove, and nothing comes back that was removed.
    """

    def __init__(self, directory: DoorDirectory) -> None:
        """Raises Served, NoDirectory."""
        self._path = directory
        try:
            self._held = os.open(directory.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoDirectory(directory.path.parent) from error
        if not lock_descriptor(self._held, blocking=False):
            os.close(self._held)
            raise Served(directory.path)

    def bind(self, name: str) -> BoundSocket:
        """A socket that listens at `name` in the directory; one that was left behind is replaced.

        It is bound through `/proc/self/fd`: a Unix address has 108 bytes, a path has no such limit.

        Raises:
            ValueError: the directory is not safe to listen in.
            NoDirectory: it is not there.
        """
        with _opened(self._path.path) as descriptor:
            owner = os.fstat(descriptor).st_uid
            if owner != os.geteuid():
                raise ValueError(
                    f"{self._path.path} belongs to uid {owner}; a door's directory is the gateway's"
                )
            _unlink(descriptor, name, None)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                path = Path(f"/proc/self/fd/{descriptor}/{name}")
                listener.bind(str(path))  # under our umask nobody else may write, hence connect
                self._path.admit(path)
                listener.listen(_BACKLOG)
                return BoundSocket(listener, name, path.stat().st_ino)
            except BaseException:
                listener.close()
                raise

    def unlink(self, bound: BoundSocket) -> None:
        """Remove our socket. One that somebody else has put there since is not ours to remove."""
        with contextlib.suppress(NoDirectory), _opened(self._path.path) as descriptor:
            _unlink(descriptor, bound.name, bound.inode)

    def release(self) -> None:
        """Let the next gateway serve."""
        os.close(self._held)


_BACKLOG = 128


def _unlink(descriptor: int, name: str, inode: int | None) -> None:
    with contextlib.suppress(FileNotFoundError):
        facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISSOCK(facts.st_mode):
            raise ValueError(f"{name} is not a socket; somebody else uses this directory")
        if inode is None or facts.st_ino == inode:
            os.unlink(name, dir_fd=descriptor)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(directory, flags)
    except FileNotFoundError as error:
        raise NoDirectory(directory) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)

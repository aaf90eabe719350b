"""How a sandbox reaches its door: here, by sockets in a directory of its own.

The directory is mounted at `/run/vsc`; whoever connects there *is* that sandbox. Where it lies
depends on the installation and the sandbox's name only, so that a gateway without the engine finds
it too.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

HTTP_SOCKET, EGRESS_SOCKET = "door.sock", "egress.sock"
"""The two sockets: HTTP verbs for all, CONNECT only where the stage may leave."""


@dataclass(frozen=True, slots=True)
class DoorDirectory:
    """A directory on this host that one sandbox sees at `/run/vsc`.

    Whoever serves its door binds sockets in it.
    """

    path: Path
    guest: int | None = None
    """User and group id of the code inside; None: it runs as we do."""

    @property
    def http(self) -> Path:
        """The socket of the HTTP verbs."""
        return self.path / HTTP_SOCKET

    @property
    def egress(self) -> Path:
        """The socket of CONNECT; it is there only where the stage may leave."""
        return self.path / EGRESS_SOCKET

    def make(self) -> None:
        """Make it, closed to everybody else from its first instant. Blocking; twice is harmless.

        The parent is ours alone, so nobody on this host can walk in; the sandbox does not walk, it
        has the directory mounted. Inside, the sandbox may pass and may not write. Raises OSError.
        """
        closed(self.path.parent)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        self._admit(self.path, by_group=0o710, by_all=0o711)

    def admit(self, socket: Path) -> None:
        """Let the sandbox, and nobody else, connect to a socket just bound. Raises OSError."""
        self._admit(socket, by_group=0o660, by_all=0o666)

    def _admit(self, path: Path, *, by_group: int, by_all: int) -> None:
        if self.guest is None or self.guest == os.geteuid():
            path.chmod(by_group & 0o700)
        elif os.geteuid() == 0:
            os.chown(path, 0, self.guest)
            path.chmod(by_group)
        else:  # no group to give it to: the closed parent alone keeps the host's other users out
            path.chmod(by_all)


def closed(directory: Path) -> None:
    """Have `directory` there for us alone, whatever made it before. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)

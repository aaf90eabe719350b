"""Where a running `vsc up` says at which address it answers: `server-address` in its home.

A lock that dies with the server says whether the address is still its own. After `kill -9` another
user of this machine may have the port, and must not be sent the operator's token.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.cli.errors import UsageError

_READERS_S = 5.0
"""Readers hold the lock for as long as one look takes."""


def address_file(home: Path) -> Path:
    """The address, while somebody serves."""
    return home / "server-address"


@contextmanager
def announced(home: Path, address: str) -> Iterator[None]:
    """Have the address in `home` while the body serves. Blocking. Raises UsageError."""
    lock = os.open(_lock(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _hold(lock, home)
        draft = address_file(home).with_name(f".server-address.{os.getpid()}")
        draft.write_text(address + "\n", encoding="utf-8")
        draft.replace(address_file(home))
        try:
            yield
        finally:
            address_file(home).unlink(missing_ok=True)
    finally:
        os.close(lock)


def announced_address(home: Path) -> str | None:
    """The address of the server that is alive over `home`; None: there is none. Blocking."""
    try:
        lock = os.open(_lock(home), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said(home)
    finally:
        os.close(lock)
    return None  # nobody holds it: what the file says is of a dead one


def _said(home: Path) -> str | None:
    try:
        return address_file(home).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _lock(home: Path) -> Path:
    return home / "server-address.lock"


def _hold(lock: int, home: Path) -> None:
    until = time.monotonic() + _READERS_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise UsageError(
                    f"a control plane of {home} serves already; use that one, or end it first"
                ) from None
            time.sleep(0.05)

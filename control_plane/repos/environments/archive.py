"""`env.tar` to a read-only directory: unpacked by our own rules, whole or not at all.

The archive is hostile.
"""

import asyncio
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from control_plane.repos.archives import HeaderReads
from control_plane.repos.mirrors import file_lock
from control_plane.repos.names import link_refusal, refusal, shown

KIND = "environments"
_CHUNK_BYTES = 1 << 20


class EnvironmentRefused(Exception):
    """The archive holds what an environment must not.

    Change the set-up commands so that they do not make it.
    """


@dataclass(frozen=True, slots=True)
class EnvironmentLimits:
    """Caps on one environment."""

    members: int = 400_000
    total_bytes: int = 8 * 2**30


DEFAULT_LIMITS = EnvironmentLimits()


def tree_key(sha256: str) -> str:
    """The depot's key for the unpacked archive of that hash."""
    return f"{KIND}/{sha256}"


class Environments:
    """`root/<sha256 of the archive>/`, readable by every sandbox and written by none."""

    def __init__(self, root: Path, limits: EnvironmentLimits = DEFAULT_LIMITS) -> None:
        self._root, self._limits = root, limits
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the environment of that archive lies, or would."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise EnvironmentRefused(f"{sha256!r} is not the sha256 of an archive")
        return self._root / sha256

    async def install(self, archive: Path, sha256: str) -> str:
        """Unpack the archive once; the key of its tree in the depot.

        Raises EnvironmentRefused, with nothing left behind.
        """
        path = self.path(sha256)
        async with file_lock(self._root / f"{sha256}.lock"):
            if not path.is_dir():
                await asyncio.to_thread(self._unpack, archive, sha256, path)
        return tree_key(sha256)

    def _unpack(self, archive: Path, sha256: str, path: Path) -> None:
        for stale in self._root.glob(f".{sha256}-*"):  # of a process that died; we hold the lock
            shutil.rmtree(stale)
        partial = Path(tempfile.mkdtemp(dir=self._root, prefix=f".{sha256}-"))
        try:
            with archive.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise EnvironmentRefused(f"the archive is not the one that {sha256} names")
                file.seek(0)
                _Unpacking(file, partial, self._limits).run()
            partial.chmod(0o755)
            partial.rename(path)
        except (tarfile.TarError, ValueError, OSError) as error:
            raise EnvironmentRefused(f"the archive cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


class _Unpacking:
    """One archive into one new directory that nobody else sees."""

    def __init__(self, file: IO[bytes], root: Path, limits: EnvironmentLimits) -> None:
        self._file, self._root, self._limits = file, root, limits
        self._links: set[bytes] = set()
        self._count = self._total = 0

    def run(self) -> None:
        with tarfile.open(
            fileobj=HeaderReads(self._file), mode="r:", errors="surrogateescape"
        ) as tar:  # type: ignore[call-overload]  # read, seek and tell are all that it uses
            while (member := tar.next()) is not None:
                tar.members.clear()
                self._place(member)
        for link in self._links:  # only now do all links exist through which one could leave
            self._check_link(link)

    def _place(self, member: tarfile.TarInfo) -> None:
        name = member.name.encode(errors="surrogateescape")
        self._count, self._total = self._count + 1, self._total + member.size
        if self._count > self._limits.members or self._total > self._limits.total_bytes:
            raise EnvironmentRefused(
                f"more than {self._limits.members} entries or {self._limits.total_bytes} bytes"
            )
        if reason := self._refusal(name, member):
            raise EnvironmentRefused(f"{shown(name)}: {reason}")
        path = os.path.join(os.fsencode(self._root), name)  # noqa: PTH118 -- names are bytes here, a Path has text
        if member.isdir():
            os.mkdir(path, 0o755)  # noqa: PTH102 -- as above
            os.chmod(path, 0o755)  # noqa: PTH101, S103 -- as above; sandboxes of another user read it
        elif member.issym():
            os.symlink(member.linkname.encode(errors="surrogateescape"), path)  # noqa: PTH211 -- as above
            self._links.add(name)
        else:
            self._write(path, member)

    def _refusal(self, name: bytes, member: tarfile.TarInfo) -> str | None:
        if reason := refusal(name):
            return reason
        parts = name.split(b"/")
        if any(b"/".join(parts[:depth]) in self._links for depth in range(1, len(parts))):
            return "lies below a link"
        if member.issym():
            return link_refusal(name, member.linkname.encode(errors="surrogateescape"))
        if not (member.isdir() or member.isreg()) or member.sparse is not None:
            return "neither a plain file, a directory nor a link"
        return "a setuid, setgid or sticky bit" if member.mode & 0o7000 else None

    def _write(self, path: bytes, member: tarfile.TarInfo) -> None:
        after = self._file.tell()
        self._file.seek(member.offset_data)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "wb") as target:  # noqa: PTH123 -- a descriptor
            left = member.size
            while left:
                chunk = self._file.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise EnvironmentRefused(f"{member.name!r}: cut off")
                target.write(chunk)
                left -= len(chunk)
            os.fchmod(target.fileno(), 0o755 if member.mode & 0o100 else 0o644)
        self._file.seek(after)

    def _check_link(self, name: bytes) -> None:
        root = os.fsencode(self._root.resolve())
        target = os.path.realpath(os.path.join(root, name))  # noqa: PTH118 -- names are bytes here, a Path has text
        if target != root and not target.startswith(root + b"/"):
            raise EnvironmentRefused(
                f"{shown(name)}: a link that leads out of the environment through another link"
            )

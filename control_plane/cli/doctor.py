"""`vsc doctor`: what this machine offers the platform, and what to do where it falls short."""

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from control_plane.audit.service import broken_chains
from control_plane.blobs.opening import open_store
from control_plane.db.embedded import embedded
from control_plane.db.engine import new_engine, session_factory
from control_plane.db.errors import DatabaseUnavailable, MigrationFailed
from control_plane.db.migrate import migrate
from control_plane.settings import Settings
from sandboxes.docker import local
from sandboxes.errors import DepotUnavailable, SandboxError

_FREE_BYTES = 10 * 2**30
_AUDIT_LINES = 2000
_GIT = (2, 39)
# CVE-2024-21626 (leaked descriptors, all before 1.1.12); CVE-2025-31133, -52565, -52881 (masked
# paths and the console: fixed in 1.2.8, 1.3.3 and 1.4.0-rc.3).
# https://github.com/opencontainers/runc/security/advisories
_RUNC_LEAK_FIXED = (1, 1, 12)
_RUNC_MASK_FIXED = {(1, 2): (1, 2, 8), (1, 3): (1, 3, 3)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""


Check = Callable[[Settings], Awaitable[Finding]]


async def examine(settings: Settings) -> list[Finding]:
    """Every check, also where one before it failed."""
    return list(await asyncio.gather(*(check(settings) for check in CHECKS)))


def runc_finding(version: str) -> Finding:
    """What is known of this runc."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return Finding(
            "runc",
            "warn",
            f"version {version!r} cannot be read",
            "see that runc is 1.2.8, 1.3.3 or later",
        )
    parts = (int(found[1]), int(found[2]), int(found[3]))
    said = f"version {found[0]}"
    if parts < _RUNC_LEAK_FIXED:
        return Finding(
            "runc",
            "warn",
            f"{said}: before 1.1.12, in the range of CVE-2024-21626 by its number",
            (
                "a distribution may have mended it under the old number: "
                "look at its changelog, else upgrade runc"
            ),
        )
    fixed = _RUNC_MASK_FIXED.get(parts[:2])
    if parts < (1, 2) or (fixed is not None and parts < fixed):
        return Finding(
            "runc",
            "warn",
            (
                f"{said}: in the range of CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881 by its "
                "number"
            ),
            (
                "a distribution may have mended it under the old number: "
                "look at its changelog, else upgrade to 1.2.8, 1.3.3 or later"
            ),
        )
    return Finding("runc", "ok", said)


def git_finding(version: str) -> Finding:
    """Whether this git can be hardened as we do it."""
    found = re.search(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < _GIT:
        return Finding(
            "git",
            "fail",
            version.strip() or "not found",
            f"install git {_GIT[0]}.{_GIT[1]} or later",
        )
    return Finding("git", "ok", version.strip().removeprefix("git version "))


async def _docker(_: Settings) -> Finding:
    try:
        facts = await asyncio.to_thread(local.facts)
    except SandboxError as error:
        return Finding("docker engine", "fail", "does not answer", str(error))
    said = f"{facts.version}, cgroup v{facts.cgroup}, {facts.storage}, {facts.cpus} CPUs"
    if facts.os != "linux":
        return Finding("docker engine", "fail", said, "a Linux engine on this machine is needed")
    if not facts.seccomp:
        return Finding(
            "docker engine",
            "fail",
            f"{said}, no seccomp",
            "use an engine and a kernel with seccomp",
        )
    return Finding("docker engine", "ok", said)


async def _runc(_: Settings) -> Finding:
    program = shutil.which("runc")
    if program is None:
        return Finding(
            "runc",
            "warn",
            "not on the PATH, so its version is unknown",
            "see that the engine's runc is 1.2.8, 1.3.3 or later",
        )
    return runc_finding((await _said(program, "--version")).partition("\n")[0])


async def _images(_: Settings) -> Finding:
    try:
        return Finding("runner images", "ok", await asyncio.to_thread(local.image, "python"))
    except SandboxError as error:
        return Finding("runner images", "fail", str(error), "build them: make images")


async def _disks(settings: Settings) -> Finding:
    found = await asyncio.to_thread(local.disks, settings.home / "docker")
    return Finding(
        "disk limits", "warn" if found.lacking else "ok", found.held_by, "; ".join(found.lacking)
    )


async def _overlay(_: Settings) -> Finding:
    known = await asyncio.to_thread(Path("/proc/filesystems").read_text)
    if re.search(r"\boverlay$", known, re.MULTILINE):
        return Finding("overlay", "ok", "the kernel has it")
    return Finding(
        "overlay",
        "warn",
        "the kernel has not loaded it; root's workspaces need it",
        "load it: modprobe overlay",
    )


async def _database(settings: Settings) -> Finding:
    try:
        if settings.database_url is not None:
            return await database_finding(
                settings.database_url.get_secret_value(), "the server of VSC_DATABASE_URL"
            )
        async with embedded(settings.home.absolute()) as url:
            return await database_finding(url, f"embedded, under {settings.home}")
    except (DatabaseUnavailable, MigrationFailed, OSError) as error:
        return Finding("database", "fail", "not usable", str(error))


async def database_finding(url: str, place: str) -> Finding:
    """Bring the schema up to date; check the whole audit chains of the last `_AUDIT_LINES` lines.

    Raises:
        DatabaseUnavailable, MigrationFailed: it is not usable.
    """
    await migrate(url)
    engine = new_engine(url)
    try:
        async with session_factory(engine)() as session:
            broken = await broken_chains(session, _AUDIT_LINES)
    finally:
        await engine.dispose()
    if broken:
        where = ", ".join(f"{chain} at line {n}" for chain, n in broken.items())
        return Finding(
            "database",
            "fail",
            f"{place}: the audit log was changed ({where})",
            "compare it with a backup",
        )
    return Finding(
        "database", "ok", f"{place}; the schema is current, the newest audit chains are whole"
    )


async def _blobs(settings: Settings) -> Finding:
    def check() -> str:
        return open_store(settings).check()

    try:
        return Finding("blobs", "ok", f"{await asyncio.to_thread(check)}; can be written")
    except (DepotUnavailable, OSError) as error:
        return Finding("blobs", "fail", "cannot be written", str(error))


async def _space(settings: Settings) -> Finding:
    place = next(
        parent
        for parent in (settings.home.absolute(), *settings.home.absolute().parents)
        if parent.exists()
    )
    free_bytes = (await asyncio.to_thread(shutil.disk_usage, place)).free
    said = f"{free_bytes / 2**30:.1f} GiB free at {place}"
    if free_bytes < _FREE_BYTES:
        return Finding(
            "disk",
            "warn",
            said,
            "images, environments and slots want 10 GiB; make room or set VSC_HOME",
        )
    return Finding("disk", "ok", said)


async def _git(_: Settings) -> Finding:
    return git_finding(await _said("git", "--version"))


async def _said(*command: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError:
        return ""
    return (await process.communicate())[0].decode(errors="replace")


CHECKS: tuple[Check, ...] = (
    _docker,
    _runc,
    _images,
    _disks,
    _overlay,
    _database,
    _blobs,
    _space,
    _git,
)

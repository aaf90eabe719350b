"""The runner as sandboxes get it: with bytecode by the image's own interpreter.

It is made once per image, in a sandbox, when the first one is wanted.
"""

import asyncio
import time
import zipfile
from pathlib import Path
from uuid import uuid4

import structlog

from control_plane.blobs.ports import Blobs
from runners import protocol
from runners.compiled import sources
from sandboxes.errors import BlobMissing, SandboxError
from sandboxes.names import SandboxName
from sandboxes.ports import SandboxProvider
from sandboxes.spec import Ended, Input, Limits, Output, SandboxSpec

log = structlog.get_logger()

STAGE = "compile"
COMPILED = "runner.pyz"
COMPILED_BYTES = 8 * 2**20
_RENEWED_S = 3600.0
"""No row names it before a sandbox does, so it is made new before the collector could come."""
_LIMITS = Limits(deadline_s=60.0)


class CompiledRunners:
    """The blob that the sandboxes of an image start from, made before the first of them.

    `kept` is a directory that remembers which it is. Compiling may speed a start up, never fail
    one: where there is no compiled runner, the sources are the runner.
    """

    def __init__(
        self, provider: SandboxProvider, blobs: Blobs, kept: Path, install: str, pyz: bytes
    ) -> None:
        self._provider, self._blobs, self._kept = provider, blobs, kept
        self._install, self._pyz = install, pyz
        self._made: dict[str, tuple[str, float]] = {}
        self._making = asyncio.Lock()

    async def of(self, image: str) -> str:
        """The blob's sha256; a sandbox is launched only the first time."""
        now = time.monotonic()
        async with self._making:
            sha256, until = self._made.get(image, ("", 0.0))
            if now >= until:
                sha256 = await self._runner(image)
                self._made[image] = sha256, now + _RENEWED_S
        return sha256

    async def _runner(self, image: str) -> str:
        source = (await self._blobs.put(self._pyz)).sha256
        note = self._kept / f"{source}-{image.removeprefix('sha256:')}"
        if (known := await _known(note, self._blobs)) is not None:
            return known
        try:
            compiled = await _compiled(self._provider, self._install, image, source)
            await _check(self._blobs, compiled, self._pyz)
        except (SandboxError, ValueError, zipfile.BadZipFile) as error:
            log.warning("runner.not_compiled", image=image, error=str(error))
            return source
        await asyncio.to_thread(_remember, note, compiled)
        return compiled


async def _compiled(provider: SandboxProvider, install: str, image: str, source: str) -> str:
    interpreter, *flags = protocol.COMMAND[:-1]
    spec = SandboxSpec(
        name=str(SandboxName(install, uuid4(), STAGE)),
        image=image,
        command=(
            interpreter,
            *flags,
            STAGE,
            "--pyz",
            protocol.RUNNER,
            "--into",
            f"{protocol.OUT}/{COMPILED}",
        ),
        limits=_LIMITS,
        inputs=(Input(protocol.RUNNER, source),),
        outputs=(Output(COMPILED, COMPILED_BYTES),),
    )
    # Without a row: if we die now, the reaper finds a sandbox that nobody wants.
    sandbox = await provider.launch(spec)
    try:
        outcome = await provider.wait(sandbox)
    finally:
        await provider.destroy(sandbox)
    made = outcome.outputs.get(COMPILED)
    if outcome.ended is not Ended.COMPLETED or outcome.exit_code != 0 or made is None:
        raise ValueError(
            f"ended as {outcome.ended.value}, exit code {outcome.exit_code}: {outcome.detail}"
        )
    return made.sha256


async def _known(note: Path, blobs: Blobs) -> str | None:
    try:
        sha256 = await asyncio.to_thread(note.read_text, encoding="ascii")
        await blobs.renew(sha256)
    except (FileNotFoundError, BlobMissing):
        return None
    return sha256


def _remember(note: Path, sha256: str) -> None:
    note.parent.mkdir(mode=0o700, exist_ok=True)
    draft = note.with_name(f".{note.name}-{uuid4().hex}")
    draft.write_text(sha256, encoding="ascii")
    draft.rename(note)


async def _check(blobs: Blobs, compiled: str, pyz: bytes) -> None:
    if sources(await blobs.read(compiled, COMPILED_BYTES)) != sources(pyz):
        raise ValueError("what came back is not this runner")

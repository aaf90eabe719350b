"""Sandboxes as plain processes, for tests and demos: the same contract without an engine, and **without isolation**.

The command runs as the user of this process, on this machine's files, network and clock. The paths
`/workspace`, `/out`, `/vsc`, `/env` and `/run/vsc` are directories of the sandbox's own; they are
written into arguments and environment in place of the names, and nothing stops a command from going
elsewhere. What is held: the deadline, the end of every process, outputs and their limits, names.
What is not: memory, CPU, processes, disk, read-only mounts, users, the network, and adoption, since
a sandbox ends with the process that launched it.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sandboxes.errors import BlobMissing, ImageMissing, NameTaken, SandboxStartFailed
from sandboxes.names import SandboxName
from sandboxes.ports import ApplyDelta, Collect, Depot
from sandboxes.remains import Remains, collect_tree, take_outputs
from sandboxes.spec import Ended, SandboxId, SandboxOutcome, SandboxSpec, SandboxSummary

_INSIDE = re.compile(r"(?<![\w./-])/(workspace|out|vsc|env|run/vsc)(?![\w.-])")
_MARK = "VSC_MEMORY_SANDBOX"
_KILL_WITHIN_S = 10.0


@dataclass(slots=True)
class _Sandbox:
    id: SandboxId
    spec: SandboxSpec
    root: Path
    process: asyncio.subprocess.Process
    started_at: datetime
    ending: tuple[Ended, str] | None = None
    end: "asyncio.Task[SandboxOutcome] | None" = None


class MemoryProvider:
    """Sandboxes of one installation, in this process only.

    `images` are the identities that it pretends to have.
    """

    def __init__(
        self,
        *,
        install: str,
        images: Collection[str],
        home: Path,
        depot: Depot,
        collect: Collect,
        apply_delta: ApplyDelta,
    ) -> None:
        self._install, self._images, self._home = install, frozenset(images), home
        self._depot, self._collect, self._apply = depot, collect, apply_delta
        self._by_name: dict[str, _Sandbox] = {}
        self._launching = asyncio.Lock()

    async def launch(self, spec: SandboxSpec) -> SandboxId:
        """Start the process, or find it started (`SandboxProvider.launch`)."""
        name = SandboxName.parse(spec.name)
        if name is None or name.install != self._install:
            raise SandboxStartFailed(
                spec.image, f"{spec.name!r} is no sandbox name of installation {self._install!r}"
            )
        async with self._launching:
            if known := self._by_name.get(spec.name):
                if known.spec.fingerprint() != spec.fingerprint():
                    raise NameTaken(spec.image, f"a sandbox {spec.name} exists with another spec")
                return known.id
            if spec.image not in self._images:
                raise ImageMissing(spec.image, "this provider was not told of it")
            root = self._home / spec.name
            try:
                await asyncio.to_thread(self._prepare, root, spec)
                sandbox = await self._start(root, spec)
            except BaseException:
                await asyncio.to_thread(_remove, root)
                raise
            self._by_name[spec.name] = sandbox
            sandbox.end = asyncio.create_task(self._until_end(sandbox))
            return sandbox.id

    async def wait(self, sandbox: SandboxId) -> SandboxOutcome:
        """Wait for the end, then take what is left (`SandboxProvider.wait`)."""
        found = self._find(sandbox)
        if found is None or found.end is None:
            return SandboxOutcome(
                ended=Ended.LOST, exit_code=None, detail="no sandbox of this process has this id"
            )
        return await asyncio.shield(found.end)

    async def terminate(self, sandbox: SandboxId, grace_s: float) -> None:
        """TERM, then KILL after the grace (`SandboxProvider.terminate`)."""
        found = self._find(sandbox)
        if found is None or found.process.returncode is not None:
            return
        found.ending = found.ending or (
            Ended.TERMINATED,
            f"asked to stop, with {grace_s:g} s of grace",
        )
        _signal(found, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(found.process.wait()), grace_s)
            return
        await asyncio.to_thread(_kill_all, found.spec.name)

    async def destroy(self, sandbox: SandboxId) -> None:
        """Kill what is left and remove the directory (`SandboxProvider.destroy`)."""
        found = self._find(sandbox)
        if found is None:
            return
        await asyncio.to_thread(_kill_all, found.spec.name)
        if found.end is not None:
            await asyncio.wait({found.end})
            # its failure is the waiter's, if there is one
            found.end.cancelled() or found.end.exception()
        await asyncio.to_thread(_remove, found.root)
        self._by_name.pop(found.spec.name, None)

    async def owned(self) -> AsyncIterator[SandboxSummary]:
        """Every sandbox that was launched and not destroyed."""
        for one in list(self._by_name.values()):
            yield SandboxSummary(
                one.id, one.spec.name, one.spec.fingerprint(), one.process.returncode is None
            )

    def door(self, name: str) -> Path:
        """The directory that the sandbox of that name has for `/run/vsc`, made if need be."""
        door = self._home / name / "run/vsc"
        door.mkdir(parents=True, exist_ok=True)
        return door

    def _find(self, sandbox: SandboxId) -> _Sandbox | None:
        return next((one for one in self._by_name.values() if one.id == sandbox), None)

    def _prepare(self, root: Path, spec: SandboxSpec) -> None:
        (root / "out").mkdir(parents=True)
        (root / "vsc").mkdir()
        (root / "collected").mkdir()
        if spec.workspace:
            shutil.copytree(
                self._depot.tree(spec.workspace.base), root / "workspace", symlinks=True
            )
            if spec.workspace.delta:
                with self._depot.open(spec.workspace.delta) as delta:
                    try:
                        self._apply(delta, root / "workspace", os.getuid())
                    except ValueError as error:
                        raise SandboxStartFailed(
                            spec.image, f"the delta does not fit its base: {error}"
                        ) from error
        if spec.environment:
            (root / "env").symlink_to(self._depot.tree(spec.environment))
        if spec.door:
            self.door(spec.name)
        for one in spec.inputs:
            self._write_input(root, PurePosixPath(one.path), one.sha256, spec.image)

    def _write_input(self, root: Path, path: PurePosixPath, sha256: str, image: str) -> None:
        if ".." in path.parts or PurePosixPath("/vsc") not in path.parents:
            raise SandboxStartFailed(image, "an input lies outside /vsc")
        with self._depot.open(sha256) as source:
            content = source.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BlobMissing(f"the depot's bytes for {path} are not {sha256}")
        file = root / path.relative_to("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o444)

    async def _start(self, root: Path, spec: SandboxSpec) -> _Sandbox:
        (root / "tmp").mkdir()
        fixed = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(root / "tmp"),
            "LANG": "C.UTF-8",
        }
        environ: Mapping[str, str] = {
            **fixed,
            **{name: _outside(value, root) for name, value in spec.environ.items()},
            _MARK: spec.name,
        }
        with (root / "log").open("wb") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(_outside(argument, root) for argument in spec.command),
                    cwd=root / "workspace" if spec.workspace else root,
                    env=environ,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise SandboxStartFailed(
                    spec.image, f"the command does not start: {error}"
                ) from error
        identity = hashlib.sha256(
            f"{spec.name} {process.pid} {time.monotonic_ns()}".encode()
        ).hexdigest()
        return _Sandbox(SandboxId(identity), spec, root, process, datetime.now(UTC))

    async def _until_end(self, sandbox: _Sandbox) -> SandboxOutcome:
        try:
            await asyncio.wait_for(
                asyncio.shield(sandbox.process.wait()), sandbox.spec.limits.backstop_s
            )
        except TimeoutError:
            backstop_s = sandbox.spec.limits.backstop_s
            sandbox.ending = sandbox.ending or (
                Ended.DEADLINE,
                f"alive {backstop_s:g} s after its start",
            )
        await asyncio.to_thread(
            _kill_all, sandbox.spec.name
        )  # a daemon in a session of its own, too
        code = await sandbox.process.wait()
        finished_at = datetime.now(UTC)
        remains = await asyncio.to_thread(self._remains, sandbox)
        ended, detail = sandbox.ending or (Ended.COMPLETED, "")
        return replace(
            SandboxOutcome(ended, code if code >= 0 else 128 - code, detail),
            started_at=sandbox.started_at,
            finished_at=finished_at,
            outputs=remains.outputs,
            refused=remains.refused,
            collected=remains.collected,
        )

    def _remains(self, sandbox: _Sandbox) -> Remains:
        remains, spec = Remains(), sandbox.spec
        take_outputs(sandbox.root / "out", spec.outputs, self._depot, remains)
        if spec.workspace and spec.workspace.against:
            collect_tree(
                self._collect,
                self._depot,
                against=spec.workspace.against,
                tree=sandbox.root / "workspace",
                changed=lambda: None,
                into=sandbox.root / "collected",
                max_bytes=spec.limits.disk_bytes,
                remains=remains,
            )
        return remains


def _outside(text: str, root: Path) -> str:
    """The text with every path of a sandbox replaced by this sandbox's directory."""
    return _INSIDE.sub(lambda path: f"{root}/{path[1]}", text)


def _signal(sandbox: _Sandbox, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(sandbox.process.pid, number)


def _kill_all(name: str) -> None:
    """Kill every process that carries the sandbox's mark in its environment, until there is none."""
    mark = f"{_MARK}={name}".encode()
    ends_at = time.monotonic() + _KILL_WITHIN_S
    while time.monotonic() < ends_at:
        alive = [
            pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and _is_marked(pid, mark)
        ]
        if not alive:
            return
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.name), signal.SIGKILL)
        time.sleep(0.01)


def _is_marked(pid: Path, mark: bytes) -> bool:
    try:
        return mark in (pid / "environ").read_bytes().split(b"\0")  # a zombie's is empty
    except OSError:
        return False


def _remove(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)

"""The client of the in-memory engine: what every provider promises, by plain processes.

As with Docker, what is hydrated and what is taken from the dead is the client's work, in trusted
code; the engine only runs commands. Held are: deadlines, the end of every process, outputs and
their limits, names, adoption. Not held: memory, CPU, processes, disk, read-only places, users, the
network.
"""

import asyncio
import hashlib
import io
import os
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from sandboxes.documents import (
    outcome_from_json,
    outcome_to_json,
    spec_from_json,
    spec_to_json,
)
from sandboxes.doors import DoorDirectory
from sandboxes.errors import (
    BlobMissing,
    ProviderUnavailable,
    SandboxStartFailed,
    SandboxUnknown,
    TooLarge,
)
from sandboxes.inside import INPUTS
from sandboxes.memory.places import Names, Place, place
from sandboxes.memory.wire import Line, line
from sandboxes.names import SandboxName
from sandboxes.ports import ApplyDelta, Collect, Depot, Start
from sandboxes.remains import Remains, collect_tree, take_outputs
from sandboxes.spec import (
    Artifact,
    Ended,
    SandboxId,
    SandboxOutcome,
    SandboxSpec,
    SandboxSummary,
    Usage,
    Workspace,
)
from sandboxes.tree_cache import TreeCache, delta_of

T = TypeVar("T")

_LOOK_S = 2.0
"""The engine answers at least so often, so that one that hangs is told from one that waits."""
_CLEAR_S = 60.0


class MemoryProvider:
    """Sandboxes of one installation on the engine of `home`."""

    def __init__(
        self,
        *,
        install: str,
        home: Path,
        depot: Depot,
        collect: Collect,
        apply_delta: ApplyDelta,
        trees: TreeCache,
        answer_s: float = 10.0,
    ) -> None:
        self._install, self._home, self._answer_s = install, home.resolve(), answer_s
        self._depot, self._collect, self._apply = depot, collect, apply_delta
        self._trees = trees
        self._pool = ThreadPoolExecutor(
            max_workers=2 * (os.cpu_count() or 1) + 2, thread_name_prefix="vsc-memory"
        )

    async def launch(self, spec: SandboxSpec) -> SandboxId:
        """Start the process, or find it started (`SandboxProvider.launch`)."""
        name = SandboxName.parse(spec.name)
        if name is None or name.install != self._install:
            raise SandboxStartFailed(
                spec.image, f"{spec.name!r} is no sandbox name of installation {self._install!r}"
            )
        async with self._held(spec.name) as engine:
            found = await engine.ask("create", spec=spec_to_json(spec))
            if found["state"] == "created":
                await self._started(engine, spec, found)
            return SandboxId(found["id"])

    async def wait(self, sandbox: SandboxId) -> SandboxOutcome:
        """Wait for the end, then take what is left (`SandboxProvider.wait`)."""
        try:
            async with self._line() as engine:
                found = await _until_ended(engine, sandbox)
            if found["outcome"] is None:
                async with self._held(found["name"]) as engine:
                    found = await self._settled(engine, sandbox)
        except SandboxUnknown as unknown:
            return SandboxOutcome(Ended.LOST, None, str(unknown))
        return outcome_from_json(found["outcome"])

    async def terminate(self, sandbox: SandboxId, grace_s: float) -> None:
        """TERM, then KILL after the grace (`SandboxProvider.terminate`)."""
        async with self._line() as engine:
            name = await self._name(engine, sandbox)
            if name is not None:
                await engine.ask("terminate", longer_s=grace_s, id=sandbox, grace_s=grace_s)

    async def destroy(self, sandbox: SandboxId) -> None:
        """Kill what is left and remove the directory (`SandboxProvider.destroy`)."""
        async with self._line() as engine:
            name = await self._name(engine, sandbox)
        if name is not None:
            async with self._held(name) as engine:
                # First: once the engine has forgotten it, nobody would ask again.
                await self._in_pool(lambda: self._trees.give_up(name))
                await engine.ask("destroy", longer_s=_CLEAR_S, id=sandbox)

    async def owned(self) -> AsyncIterator[SandboxSummary]:
        """Sandboxes of this installation, and directories with such a name (`...owned`)."""
        async with self._line() as engine:
            found = (await engine.ask("all"))["sandboxes"]
        for one in found:
            if self._is_ours(one["name"]):
                running = one["state"] in ("starting", "running")
                yield SandboxSummary(SandboxId(one["id"]), one["name"], one["fingerprint"], running)

    def door(self, name: str) -> DoorDirectory:
        """A directory of the sandbox's own (`SandboxProvider.door`)."""
        return place(self._home, name).door

    def close(self) -> None:
        """Give back threads. Sandboxes go on."""
        self._pool.shutdown(wait=True)

    # launch

    async def _started(self, engine: Line, spec: SandboxSpec, found: dict[str, Any]) -> None:
        where = place(self._home, spec.name)
        names = Names(where, Path(found["image"]))
        try:
            await self._in_pool(lambda: self._prepare(where, spec, names))
            await engine.ask("start", id=found["id"])
        except ProviderUnavailable:
            raise  # it may have been started
        except Exception as error:
            await self._in_pool(lambda: self._trees.give_up(spec.name))
            await engine.ask("destroy", longer_s=_CLEAR_S, id=found["id"])
            if isinstance(error, ValueError):  # what an archive or a delta must not be
                raise SandboxStartFailed(spec.image, str(error)) from error
            raise

    def _prepare(self, where: Place, spec: SandboxSpec, names: Names) -> None:
        """Everything that the command finds, made anew. Blocking."""
        for made in (where.workspace, where.out, where.inputs, where.tmp, where.collected):
            shutil.rmtree(made, ignore_errors=True)
        for made in (where.out, where.inputs, where.tmp, where.collected):
            made.mkdir()
        where.environment.unlink(missing_ok=True)
        if spec.workspace:
            shutil.copytree(self._base(spec.workspace, where), where.workspace, symlinks=True)
            with delta_of(spec.workspace, self._depot) as delta:
                if delta is not None:
                    self._apply(delta, where.workspace, os.getuid())
        if spec.environment:
            where.environment.symlink_to(self._trees.use(spec.environment, os.getuid(), where.name))
        if spec.door:
            where.door.make()
        for one in spec.inputs:
            path = PurePosixPath(one.path)
            if ".." in path.parts or PurePosixPath(INPUTS) not in path.parents:
                raise SandboxStartFailed(spec.image, f"an input lies outside {INPUTS}")
            content = names.in_input(path, self._checked(one.sha256, one.path))
            file = where.inputs / path.relative_to(INPUTS)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o444)

    def _base(self, workspace: Workspace, where: Place) -> Path:
        return self._trees.use([workspace.base], os.getuid(), where.name)

    def _checked(self, sha256: str, path: str) -> bytes:
        with self._depot.open(sha256) as source:
            content = source.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BlobMissing(f"the depot's bytes for {path} are not {sha256}")
        return content

    # wait

    async def _settled(self, engine: Line, sandbox: SandboxId) -> dict[str, Any]:
        found = await engine.ask("wait", id=sandbox, within_s=0.0)
        if found["outcome"] is not None:
            return found  # another waiter was first
        outcome = await self._in_pool(lambda: self._outcome(found))
        return await engine.ask("settle", id=sandbox, outcome=outcome_to_json(outcome))

    def _outcome(self, found: dict[str, Any]) -> SandboxOutcome:
        """What the dead left. Blocking."""
        remains = self._remains(place(self._home, found["name"]), found)
        return SandboxOutcome(
            ended=Ended(found["ended"]),
            exit_code=found["code"],
            detail=found["detail"],
            started_at=_instant(found["started_at"]),
            finished_at=_instant(found["finished_at"]),
            usage=Usage(**found["usage"]),
            outputs=remains.outputs,
            refused=remains.refused,
            uncollected=remains.uncollected,
            collected=remains.collected,
        )

    def _remains(self, where: Place, found: dict[str, Any]) -> Remains:
        remains, spec = Remains(), spec_from_json(found["spec"])
        names = Names(where, Path(found["image"]))
        take_outputs(where.out, spec.outputs, _Renaming(self._depot, names), remains)
        if spec.workspace and spec.workspace.against:
            base = self._base(spec.workspace, where)
            with delta_of(spec.workspace, self._depot) as delta:
                collect_tree(
                    self._collect,
                    self._depot,
                    start=Start(base, delta, spec.workspace.against),
                    tree=where.workspace,
                    changed=lambda: None,
                    into=where.collected,
                    max_bytes=spec.limits.disk_bytes,
                    remains=remains,
                )
        return remains

    # threads and connections

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Line]:
        async with line(self._home, self._answer_s) as engine:
            yield engine

    @asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[Line]:
        """A connection that holds a name against every other client, as long as we live."""
        async with self._line() as engine:
            held = False
            while not held:  # another client hydrates or collects under this name
                looked = await engine.ask("hold", longer_s=_LOOK_S, name=name, within_s=_LOOK_S)
                held = looked["held"]
            yield engine

    async def _name(self, engine: Line, sandbox: SandboxId) -> str | None:
        """What a sandbox of ours is called; None: it is not ours, or nobody knows it."""
        name: str | None = (await engine.ask("name", id=sandbox))["name"]
        return name if name is not None and self._is_ours(name) else None

    def _is_ours(self, name: str) -> bool:
        parsed = SandboxName.parse(name)
        return parsed is not None and parsed.install == self._install

    async def _in_pool(self, call: Callable[[], T]) -> T:
        """Run a blocking call; who is cancelled leaves only when the call has ended."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise


class _Renaming:
    """A depot that keeps outputs with the names that paths have inside a sandbox."""

    def __init__(self, depot: Depot, names: Names) -> None:
        self._depot, self._names = depot, names

    def open(self, sha256: str) -> BinaryIO:
        return self._depot.open(sha256)

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        content = source.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes")
        return self._depot.put(io.BytesIO(self._names.inward(content)), max_bytes)


async def _until_ended(engine: Line, sandbox: SandboxId) -> dict[str, Any]:
    while True:
        found = await engine.ask("wait", longer_s=_LOOK_S, id=sandbox, within_s=_LOOK_S)
        if found["state"] == "ended":
            return found


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

"""Sandboxes as Docker containers: launch, wait, collect, destroy.

Safe against a kill -9 of this process at any line.
"""

import asyncio
import contextlib
import functools
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import docker

from sandboxes.docker import disk
from sandboxes.docker.endings import outcome_of, unasked
from sandboxes.docker.engine import Container, Engine, EngineAway
from sandboxes.docker.meter import Meter
from sandboxes.docker.records import Place, Records
from sandboxes.docker.render import check, container_config
from sandboxes.docker.workspaces import Workspaces
from sandboxes.doors import DoorDirectory
from sandboxes.errors import NameTaken, ProviderUnavailable, SandboxStartFailed
from sandboxes.names import SandboxName
from sandboxes.ports import ApplyDelta, Collect, Depot
from sandboxes.spec import Ended, SandboxId, SandboxOutcome, SandboxSpec, SandboxSummary, Usage
from sandboxes.tree_cache import TreeCache

T = TypeVar("T")

_FIRST_LOOK_S, _LOOK_S = 0.25, 1.0
_AT_LEAST_S = 0.01
_KILLED_WITHIN_S = 30.0
_STRAY = "stray:"
"""Begins the id of what has a sandbox's name on this host and no container at the engine."""


class DockerProvider:
    """The engine on this machine.

    `home` is this installation's alone, private, and outlives the process.
    """

    def __init__(
        self,
        client: docker.APIClient,
        *,
        install: str,
        home: Path,
        depot: Depot,
        collect: Collect,
        apply_delta: ApplyDelta,
        trees: TreeCache,
        uid: int,
        workspaces: Workspaces,
    ) -> None:
        if uid <= 0:
            raise ValueError(
                "a sandbox never runs as root: give it a uid above 0 (VSC_SANDBOX_UID)"
            )
        self._engine, self._install, self._uid = Engine(client), install, uid
        self._records = Records(home.resolve())
        self._disks = disk.Disks(depot, collect, apply_delta, workspaces, trees, uid)
        self._pool = ThreadPoolExecutor(
            max_workers=2 * (os.cpu_count() or 1) + 2, thread_name_prefix="vsc-docker"
        )

    async def launch(self, spec: SandboxSpec) -> SandboxId:
        """Start it, or find it started (`SandboxProvider.launch`)."""
        return await self._in_pool(lambda: self._launch(spec))

    async def wait(self, sandbox: SandboxId) -> SandboxOutcome:
        """Wait for the end, then take what is left (`SandboxProvider.wait`)."""
        place = await self._in_pool(lambda: self._records.of(sandbox))
        if place is None:
            return _lost("no sandbox of this installation has this id")
        if settled := place.outcome():
            return settled
        usage = await self._until_dead(sandbox, place)
        return await self._apart(lambda: self._settle(sandbox, place.name, usage))

    async def terminate(self, sandbox: SandboxId, grace_s: float) -> None:
        """TERM, then KILL after the grace (`SandboxProvider.terminate`)."""
        await self._apart(lambda: self._terminate(sandbox, grace_s))

    async def destroy(self, sandbox: SandboxId) -> None:
        """Remove container, mounts, loop device, directories (`SandboxProvider.destroy`)."""
        await self._in_pool(lambda: self._destroy(sandbox))

    async def owned(self) -> AsyncIterator[SandboxSummary]:
        """Our containers, and what is left on this host of others (`SandboxProvider.owned`)."""
        for summary in await self._in_pool(self._owned):
            yield summary

    def door(self, name: str) -> DoorDirectory:
        """A directory beside the sandbox's disk (`SandboxProvider.door`)."""
        return self._records.place(name).door_for(self._uid)

    def close(self) -> None:
        """Give back threads and what was made ahead. Sandboxes go on."""
        self._pool.shutdown(wait=True)
        self._disks.close()

    # launch

    def _launch(self, spec: SandboxSpec) -> SandboxId:
        check(spec)
        name = SandboxName.parse(spec.name)
        if name is None or name.install != self._install:
            raise SandboxStartFailed(
                spec.image, f"{spec.name!r} is no sandbox name of installation {self._install!r}"
            )
        with self._records.held(spec.name) as place:
            found = self._adoptable(place, spec)
            if found and (found.started_at or place.outcome()):
                return SandboxId(found.id)
            if found is None and (ran := place.container()):
                return (
                    ran  # it may have run, and the engine has forgotten it: `wait` will say "lost"
                )
            if found is None and place.damaged():
                return SandboxId(f"{_STRAY}{place.name}")  # nobody knows whether it has run
            container = self._made(place, spec, found)
            place.write_container(container)
            try:
                self._engine.start(container, spec.image)
            except SandboxStartFailed:
                self._engine.remove(container)
                self._disks.release(place)
                raise
            # Any other failure leaves everything: it may have been started, and the next launch
            # will see.
            return container

    def _adoptable(self, place: Place, spec: SandboxSpec) -> Container | None:
        """The container of that name, if there is one.

        Raises NameTaken if name or directory belong to another spec.
        """
        found, asked = self._engine.find(spec.name), place.spec()
        fingerprints = {found.fingerprint} if found else set()
        fingerprints |= {asked.fingerprint()} if asked else set()
        if (found and found.install != self._install) or fingerprints - {spec.fingerprint()}:
            raise NameTaken(
                spec.image,
                f"a sandbox {spec.name} exists with another spec; launch under the next number",
            )
        return found

    def _made(self, place: Place, spec: SandboxSpec, found: Container | None) -> SandboxId:
        """A container that was never started, with everything that it mounts."""
        if found and place.prepared():
            self._disks.reopen(place, spec)
            return SandboxId(found.id)
        if found:
            self._engine.remove(found.id)
        try:
            binds = self._disks.prepare(place, spec)
            config = container_config(
                spec,
                install=self._install,
                owner=self._uid,
                binds=binds.paths,
                writable=binds.writable,
            )
            return SandboxId(self._engine.create(spec.name, config))
        except ProviderUnavailable:
            raise  # it may have been created
        except BaseException:
            self._disks.release(place)
            raise

    # wait

    async def _until_dead(self, sandbox: SandboxId, place: Place) -> Usage:
        abandoned = threading.Event()
        try:
            return await self._apart(lambda: self._watch(sandbox, place, abandoned))
        finally:
            abandoned.set()

    def _watch(self, sandbox: SandboxId, place: Place, abandoned: threading.Event) -> Usage:
        """Look at it until it is dead; end it past its backstop or its disk limit."""
        meter, spec, found = Meter(sandbox), place.spec(), self._engine.find(sandbox)
        if spec is None and found and found.running:
            self._kill(sandbox)  # its limits are not known any more
        if spec is None or found is None or found.started_at is None:
            return meter.usage
        # By the engine's clock once, then by one that nobody sets.
        lived_s = max(0.0, (datetime.now(UTC) - found.started_at).total_seconds())
        ends_at = time.monotonic() + spec.limits.backstop_s - lived_s
        look_s = _FIRST_LOOK_S
        meter.read()
        while not abandoned.is_set():
            left_s = ends_at - time.monotonic()
            if self._engine.wait(sandbox, max(_AT_LEAST_S, min(look_s, left_s))):
                break
            meter.read()
            look_s = min(_LOOK_S, look_s * 1.5)
            if time.monotonic() >= ends_at:
                self._end(
                    sandbox,
                    place,
                    Ended.DEADLINE,
                    f"alive {spec.limits.backstop_s:g} s after its start",
                )
                ends_at = time.monotonic() + _KILLED_WITHIN_S
            elif excess := self._disks.excess(place, spec):
                self._end(sandbox, place, Ended.QUOTA, excess)
        return meter.usage

    def _end(self, sandbox: SandboxId, place: Place, ended: Ended, detail: str) -> None:
        place.write_ending(ended, detail)
        self._engine.kill(sandbox, "KILL")

    def _settle(self, sandbox: SandboxId, name: str, usage: Usage) -> SandboxOutcome:
        with self._records.held(name) as place:
            if settled := place.outcome():
                return settled  # another waiter was first
            spec = place.spec()
            if spec is None or place.container() != sandbox:
                return _lost(
                    f"its records cannot be read: {', '.join(place.damaged())}"
                    if place.damaged()
                    else "it was destroyed before its end was seen"
                )
            found = self._engine.find(sandbox)
            if found and found.running:
                raise ProviderUnavailable(f"sandbox {name} still runs; wait again")
            if unasked(found, place.ending()):
                self._engine.answers_anew()  # or is it the engine that ends, with all of them?
            outcome = outcome_of(
                found,
                place.ending(),
                usage,
                self._disks.remains(place, spec),
                self._records.engine_away_at(),
            )
            place.write_outcome(outcome)
            return outcome

    # terminate, destroy, owned

    def _terminate(self, sandbox: SandboxId, grace_s: float) -> None:
        found = self._engine.find(sandbox)
        if found is None or found.install != self._install or not found.running:
            return
        place = self._records.place(found.name)
        place.write_ending(Ended.TERMINATED, f"asked to stop, with {grace_s:g} s of grace")
        self._engine.kill(sandbox, "TERM")
        if not self._engine.wait(sandbox, max(_AT_LEAST_S, grace_s)):
            self._kill(sandbox)

    def _kill(self, sandbox: SandboxId) -> None:
        self._engine.kill(sandbox, "KILL")
        self._engine.wait(sandbox, _KILLED_WITHIN_S)

    def _destroy(self, sandbox: SandboxId) -> None:
        name = self._name_of(sandbox)
        if name is None:
            return
        with self._records.held(name) as place:
            self._clear(place)

    def _name_of(self, sandbox: SandboxId) -> str | None:
        if sandbox.startswith(_STRAY):
            name = sandbox.removeprefix(_STRAY)
            return name if SandboxName.parse(name) else None
        if place := self._records.of(sandbox):
            return place.name
        found = self._engine.find(sandbox)
        return found.name if found and found.install == self._install else None

    def _clear(self, place: Place) -> None:
        ours = (
            place.container() if place.outcome() else None
        )  # whose end is on record is the only one of that name
        if (
            ours is None
            and (found := self._engine.find(place.name))
            and found.install == self._install
        ):
            ours = SandboxId(found.id)
        if ours:
            self._engine.remove(ours)
        self._disks.release(place)

    def _owned(self) -> list[SandboxSummary]:
        # Directories first: one that is made meanwhile has its container in the list that comes
        # after.
        places = self._records.places()
        containers = self._engine.all(self._install)
        known = {one.name for one in containers}
        return [
            *(
                SandboxSummary(SandboxId(one.id), one.name, one.fingerprint, one.running)
                for one in containers
            ),
            *(_stray(place) for place in places if place.name not in known),
        ]

    # threads

    async def _in_pool(self, call: Callable[[], T]) -> T:
        noting = functools.partial(self._noting, call)
        return await asyncio.get_running_loop().run_in_executor(self._pool, noting)

    async def _apart(self, call: Callable[[], T]) -> T:
        """Run a long call on a thread of its own, which never keeps the process alive."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def tell(report: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens
                loop.call_soon_threadsafe(lambda: None if result.done() else report())

        def work() -> None:
            try:
                value = self._noting(call)
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
                failure = error
                tell(lambda: result.set_exception(failure))
            else:
                tell(lambda: result.set_result(value))

        threading.Thread(target=work, name="vsc-docker-apart", daemon=True).start()
        return await result

    def _noting(self, call: Callable[[], T]) -> T:
        """Whoever sees that the engine is away writes it down, for all sandboxes that live."""
        try:
            return call()
        except EngineAway:
            self._records.mark_engine_away()
            raise


def _stray(place: Place) -> SandboxSummary:
    spec = place.spec()
    container = place.container() or SandboxId(f"{_STRAY}{place.name}")
    return SandboxSummary(container, place.name, spec.fingerprint() if spec else "", running=False)


def _lost(detail: str) -> SandboxOutcome:
    return SandboxOutcome(ended=Ended.LOST, exit_code=None, detail=detail)

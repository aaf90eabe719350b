"""The engine itself: starts sandboxes, ends them, knows each again after its own restart."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sandboxes.documents import spec_from_json
from sandboxes.errors import ImageMissing, NameTaken, SandboxStartFailed, SandboxUnknown
from sandboxes.memory import keeper, records
from sandboxes.memory.places import HOME_CHARACTERS, Names, Place, place
from sandboxes.memory.records import Record
from sandboxes.names import SandboxName
from sandboxes.spec import Ended, SandboxSpec

Answer = Mapping[str, Any]

STRAY = "stray:"
"""Begins the id of a directory with a name that was never a sandbox: only its door exists."""
_KEEPER = Path(keeper.__file__)


class Engine:
    """All sandboxes under `home`.

    `images` says which directory each image's `/opt/vsc` is. With `lose`, the sandboxes that lived
    through the engine's restart are killed, and LOST; without it they are found again.
    """

    def __init__(self, home: Path, images: Mapping[str, Path], *, lose: bool = False) -> None:
        if len(str(home)) > HOME_CHARACTERS:
            raise ValueError(
                f"{home} is too long for the sockets below it: give a home of at most "
                f"{HOME_CHARACTERS} characters"
            )
        self._home, self._images, self._lose = home, dict(images), lose
        self._boxes: dict[str, _Box] = {}
        self._refused: dict[str, Exception] = {}
        (home / "s").mkdir(mode=0o711, parents=True, exist_ok=True)

    def load(self) -> None:
        """Find the sandboxes that an earlier engine has left."""
        for found in self._places():
            if (record := records.read(found)) is not None:
                box = self._boxes[found.name] = self._new_box(found, record)
                if record.state in ("starting", "running"):
                    box.adopt(lose=self._lose)
                elif record.state == "ended":
                    box.dead.set()

    async def create(self, spec: dict[str, Any]) -> Answer:
        """Note a sandbox of that name, or find the one there is."""
        wanted = spec_from_json(spec)
        if (asked := SandboxName.parse(wanted.name)) and asked.stage in self._refused:
            raise self._refused[asked.stage]
        if (known := self._boxes.get(wanted.name)) is None:
            if wanted.image not in self._images:
                raise ImageMissing(wanted.image, "this engine was not told of it")
            record = Record(uuid.uuid4().hex, spec, wanted.fingerprint())
            known = self._boxes[wanted.name] = self._new_box(place(self._home, wanted.name), record)
            known.write()
        if known.record.fingerprint != wanted.fingerprint():
            raise NameTaken(wanted.image, f"a sandbox {wanted.name} exists with another spec")
        return known.answer()

    async def start(self, id: str) -> Answer:  # noqa: A002 - the protocol's word
        """Start what was created; what has run is left alone."""
        box = self._box(id)
        if box.record.state == "created":
            await box.start()
            await asyncio.to_thread(self._note_start, box)
        return box.answer()

    async def wait(self, id: str, within_s: float) -> Answer:  # noqa: A002 - as above
        """How it ended, or that it still runs after so long."""
        box = self._box(id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await box.dead.wait()
        return box.answer()

    async def settle(self, id: str, outcome: dict[str, Any]) -> Answer:  # noqa: A002 - as above
        """Keep the client's word on what it left; the first one stays."""
        box = self._box(id)
        if box.record.outcome is None:
            box.record.outcome = outcome
            box.write()
        return box.answer()

    async def terminate(self, id: str, grace_s: float) -> Answer:  # noqa: A002 - as above
        """TERM, then KILL after the grace; returns when it is dead."""
        box = self._box(id)
        box.end(Ended.TERMINATED, f"asked to stop, with {grace_s:g} s of grace", signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await box.dead.wait()
        await box.kill()
        return box.answer()

    async def end(self, name: str, ended: str) -> Answer:
        """Tests only: evict a sandbox, or lose it."""
        box = self._boxes.get(name)
        if box is None:
            raise SandboxUnknown(f"no sandbox is called {name}")
        box.end(Ended(ended), "so the test wants it", signal.SIGUSR1)
        await box.dead.wait()
        return box.answer()

    async def refuse(self, stage: str, why: str, *, broken: bool) -> Answer:
        """Tests only: take no sandbox of that stage; none for an empty `why`.

        With `broken` the engine fails at it, else it refuses the spec.
        """
        self._refused.pop(stage, None)
        if why:
            self._refused[stage] = OSError(why) if broken else SandboxStartFailed(stage, why)
        return {}

    async def destroy(self, id: str) -> Answer:  # noqa: A002 - as above
        """End it and remove everything that carries its name. Twice is harmless."""
        name = self._name_of(id)
        if name is not None:
            if (box := self._boxes.get(name)) is not None:
                await box.kill()
            await asyncio.to_thread(shutil.rmtree, place(self._home, name).root, True)
            self._boxes.pop(name, None)
        return {}

    async def name(self, id: str) -> Answer:  # noqa: A002 - as above
        """What a sandbox is called."""
        return {"name": self._name_of(id)}

    async def all(self) -> Answer:
        """Every sandbox, and every directory that carries a name."""
        known = [box.answer() for box in self._boxes.values()]
        strays = [
            {"id": STRAY + one.name, "name": one.name, "fingerprint": "", "state": "created"}
            for one in self._places()
            if one.name not in self._boxes
        ]
        return {"sandboxes": known + strays}

    async def starts(self) -> Answer:
        """Every start of a process, in order: the engine's own record, which no restart forgets."""
        lines = await asyncio.to_thread(self._read_starts)
        return {"starts": [json.loads(line) for line in lines]}

    def _new_box(self, where: Place, record: Record) -> "_Box":
        return _Box(where, record, self._images.get(record.spec["image"], where.root))

    def _box(self, wanted: str) -> "_Box":
        for box in self._boxes.values():
            if box.record.id == wanted:
                return box
        raise SandboxUnknown(f"no sandbox has the id {wanted}")

    def _name_of(self, wanted: str) -> str | None:
        if wanted.startswith(STRAY):
            name = wanted.removeprefix(STRAY)
            return name if name in {one.name for one in self._places()} else None
        return next(
            (box.place.name for box in self._boxes.values() if box.record.id == wanted), None
        )

    def _places(self) -> Iterator[Place]:
        return (Place(root) for root in sorted((self._home / "s").iterdir()))

    def _note_start(self, box: "_Box") -> None:
        line = json.dumps({"name": box.place.name, "id": box.record.id})
        with (self._home / "starts").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _read_starts(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self._home / "starts").read_text(encoding="utf-8").splitlines()
        return []


class _Box:
    """One sandbox: its record, its keeper, and whoever waits for its end."""

    def __init__(self, where: Place, record: Record, image: Path) -> None:
        self.place, self.record, self._image = where, record, image
        self.dead = asyncio.Event()
        self._pid = 0
        self._popen: subprocess.Popen[bytes] | None = None
        self._following: asyncio.Task[None] | None = None

    def answer(self) -> dict[str, Any]:
        """The record, as clients are told of it."""
        told = ("id", "fingerprint", "state", "spec", "started_at", "finished_at", "ended",
                "detail", "code", "usage", "outcome")  # fmt: skip
        known = {one: getattr(self.record, one) for one in told}
        return {"name": self.place.name, "image": str(self._image), **known}

    def write(self) -> None:
        self.record.write(self.place)

    async def start(self) -> None:
        """Raises SandboxStartFailed, after which it can be started again."""
        spec, names = spec_from_json(self.record.spec), Names(self.place, self._image)
        self.record.state = "starting"
        self.write()
        command = self.place.record / "command.json"
        command.write_text(json.dumps(_command(spec, names, self.place)), encoding="utf-8")
        trouble = await asyncio.to_thread(self._spawn)
        if trouble:
            (self.place.record / "keeper.json").unlink(missing_ok=True)
            self.record.state = "created"
            self.write()
            raise SandboxStartFailed(spec.image, f"the command does not start: {trouble}")
        self.record.begin()
        self.write()
        self._follow()

    def _spawn(self) -> str:
        """Start the keeper and hear whether the command runs. Blocking."""
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), str(self.place.record)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={},
            start_new_session=True,
        )
        assert self._popen.stdout is not None  # noqa: S101 - a pipe was asked for
        with self._popen.stdout as told:
            line = told.readline()
        self._pid = self._popen.pid
        trouble: str = json.loads(line) if line else "its keeper ended"
        if trouble:
            self._popen.wait()
        return trouble

    def adopt(self, *, lose: bool) -> None:
        """Go on with what an earlier engine has started."""
        told = records.read_json(self.place.record / "keeper.json")
        if told is None:  # it may be about to start: this forbids it
            (self.place.record / "keeper.json").touch(exist_ok=True)
        if told is not None and _lives(told):
            self._pid = told["pid"]
            if self.record.state == "starting":
                self.record.begin()
            if lose:
                self.end(Ended.LOST, "the engine was started again", signal.SIGUSR1)
            self.write()
            self._follow()
        else:
            self._finish()

    def _follow(self) -> None:
        self._following = asyncio.create_task(self._until_end(), name=f"box {self.place.name}")

    async def _until_end(self) -> None:
        backstop_s = spec_from_json(self.record.spec).limits.backstop_s
        left_s = self.record.started + backstop_s - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await _gone(self._pid)
        except TimeoutError:
            detail = f"alive {backstop_s:g} s after its start"
            self.end(Ended.DEADLINE, detail, signal.SIGUSR1)
            await _gone(self._pid)
        self._finish()

    def _finish(self) -> None:
        if self._popen is not None:
            self._popen.wait()  # it has ended
        self.record.finish(records.read_json(self.place.record / "exit.json"))
        self.write()
        self.dead.set()

    def end(self, ended: Ended, detail: str, number: signal.Signals) -> None:
        """Signal the command through its keeper, and note why."""
        if self.record.state == "running":
            self.record.end_because(ended, detail)
            self.write()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    async def kill(self) -> None:
        """Until it is dead."""
        if self.record.state == "running":
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGUSR1)
            await self.dead.wait()


def _command(spec: SandboxSpec, names: Names, where: Place) -> dict[str, Any]:
    given = {name: names.outward(value) for name, value in spec.environ.items()}
    fixed = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(where.tmp),
        "LANG": "C.UTF-8",
    }
    return {
        "argv": [names.outward(argument) for argument in spec.command],
        "environ": {**fixed, **given},
        "cwd": str(where.workspace if spec.workspace else where.root),
    }


def _lives(told: Mapping[str, int]) -> bool:
    try:
        return keeper.born(told["pid"]) == told["born"]
    except OSError:
        return False


async def _gone(pid: int) -> None:
    """Returns when the process has ended, a child of ours or not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)

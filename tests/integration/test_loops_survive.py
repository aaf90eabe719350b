"""Loops of the orchestrator outlive what they did not foresee."""

import asyncio
import uuid

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.loops import back_off_s, for_ever
from control_plane.orchestrator.reconcile import Reconciler
from sandboxes.names import SandboxName
from sandboxes.spec import SandboxId, SandboxSummary

INSTALL = "abcdef"


class Engine:
    """Two strays; whoever lists or destroys the first meets something that nobody thought of."""

    def __init__(self) -> None:
        self.lists, self.destroyed, self.done = 0, [], asyncio.Event()
        self.names = [str(SandboxName(INSTALL, uuid.uuid4(), "static")) for _ in range(2)]

    async def owned(self):
        self.lists += 1
        if self.lists == 1:
            raise KeyError("workspace")
        for name in self.names:
            yield SandboxSummary(SandboxId(name), name, "", running=False)

    async def destroy(self, sandbox):
        if sandbox == self.names[0]:
            raise ValueError("no such mount")
        self.destroyed.append(sandbox)
        self.done.set()


async def test_the_reconciler_outlives_an_answer_that_it_cannot_read_and_reaps_the_rest(
    sessions, tmp_path
):
    engine = Engine()
    reconciler = Reconciler(
        sessions=sessions,
        provider=engine,
        blobs=ThreadedBlobs(DirectoryBlobs(tmp_path)),
        install=INSTALL,
        grace_s=0.0,
        every_s=0.01,
    )
    serving = asyncio.create_task(reconciler.serve())
    reaped = asyncio.create_task(engine.done.wait())
    await asyncio.wait({serving, reaped}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    reaped.cancel()
    assert not serving.done()
    serving.cancel()
    await asyncio.wait({serving})

    assert set(engine.destroyed) == {engine.names[1]}


async def test_a_loop_goes_on_after_failures_and_waits_longer_each_time():
    calls, done = [], asyncio.Event()

    async def once():
        calls.append(1)
        if len(calls) < 4:
            raise ZeroDivisionError
        done.set()

    loop = asyncio.create_task(for_ever("test", once, every_s=60.0, retry_s=0.001))
    async with asyncio.timeout(30):
        await done.wait()
    loop.cancel()

    assert [back_off_s(n, 1.0) for n in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, 60.0]

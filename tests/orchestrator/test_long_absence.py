"""F45: control planes that were away for ten minutes come back to five hundred sandboxes.

What a killed control plane leaves is laid down here, rows and sandboxes, with a shell in the place
of the runner: that a real one leaves it so is shown by the random kills (F13) and the rolling
restart (F14), and 500 whole runs would take ten times as long.
"""

import asyncio
import contextlib
import itertools
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from history_kit import assert_sound
from sqlalchemy import func, select, text

from control_plane.db.base import new_id
from control_plane.processes.engines import memory_engine
from control_plane.processes.ground import open_ground
from control_plane.runs.models import Run, RunEvent, Sandbox
from control_plane.runs.moves import STATE_CHANGED
from control_plane.runs.rules import LIVE, RunKind, RunState, SandboxState
from control_plane.sessions.models import AgentSession
from runners import protocol
from sandboxes.documents import spec_to_json
from sandboxes.names import SandboxName
from sandboxes.spec import Input, Limits, Output, SandboxSpec

ALL, LIVING = 500, 12
"""Of all, so many sandboxes still live when the control planes are back: they are adopted."""
WORKERS = 8
"""Of each of the two that come back."""
DEADLINE_S = 3600.0
DRIVER = {"kind": "command", "argv": ["/bin/sh", "-c", "echo '{}' > /out/document.json"]}
SCHEMA = {"type": "object"}
AWAY = (
    """UPDATE runs SET lease_until = lease_until - interval '10 minutes',
        next_action_at = next_action_at - interval '10 minutes'""",
    "UPDATE sites SET lease_until = lease_until - interval '10 minutes'",
)


@pytest.mark.timeout(900)
async def test_five_hundred_sandboxes_and_nobody_for_ten_minutes(fleet):
    early, late = a_gate(fleet, "early"), a_gate(fleet, "late")
    first = fleet.start(serves=True)
    async with fleet.client(first) as client:
        source = {"kind": "path", "path": str(fleet.repo)}
        await client.post("/v1/repositories", {"key": "toy", "source": source})
        like = await ended(client, await asked(client))
    await fleet.end(first)
    runs = await left_behind(fleet, like, [early] * (ALL - LIVING) + [late] * LIVING)
    with opened(early):
        pair = [fleet.start(serves=True, **BACK), fleet.start(**BACK)]
        async with fleet.client(pair[0]) as client:
            newcomer = await asked(client)
            held = await converged(fleet, client, until=LIVING)
            with opened(late):
                held |= await converged(fleet, client, until=0)
            last = await ended(client, newcomer)
    codes = [await fleet.end(process) for process in pair]

    async with fleet.sessions() as session:
        ends = Counter(await session.scalars(select(Run.state).where(Run.id.in_(runs))))
    assert ends == {RunState.FINISHED: ALL}
    assert last["state"] == "FINISHED"
    assert max(held) <= 2 * WORKERS, "nobody claims more than it can drive"
    assert codes == [0, 0]
    await assert_sound(fleet)


BACK = {
    "VSC_WORKERS": str(WORKERS),
    "VSC_SANDBOXES": str(2 * WORKERS),
    "VSC_LEASE_S": "30",
    "VSC_COLLECT_HOURS": "0",
}


async def asked(client):
    """A session whose product is a document."""
    new = {"repository": "toy", "driver": DRIVER, "output_schema": SCHEMA}
    return (await client.post("/v1/sessions", new))["id"]


async def ended(client, run_id):
    async for _ in client.events(run_id):
        pass
    return await client.get(f"/v1/runs/{run_id}")


async def converged(fleet, client, until):
    """When so few live: how many runs were held at a time. The API answers all the while."""
    held = set()
    while True:
        async with fleet.sessions() as session:
            living = list(await session.scalars(select(Run.id).where(Run.state.in_(LIVE))))
            leased = select(func.count()).where(Run.lease_until > func.now())
            held.add(await session.scalar(leased))
        if len(living) <= until:
            return held
        told = await client.get(f"/v1/runs/{living[-1]}")
        assert told["state"] in {*LIVE, RunState.FINISHED}
        await asyncio.sleep(0.5)


def a_gate(fleet, name) -> Path:
    """Who opens it for reading waits until somebody has opened it for writing."""
    path = fleet.engine.home / name
    os.mkfifo(path)
    return path


@contextlib.contextmanager
def opened(gate):
    """Open it for who waits and for who comes later."""
    held = os.open(gate, os.O_RDWR)
    try:
        yield
    finally:
        os.close(held)


async def left_behind(fleet, like, gates):
    """Rows and sandboxes of sessions whose holder was killed ten minutes ago; their runs' ids."""
    async with open_ground(fleet.settings()) as ground, memory_engine(ground) as engine:
        capsule, specs = (await fleet.blobs.put(b"{}")).sha256, {}
        for gate in gates:
            run = new_id()
            name = str(SandboxName(engine.site.name, run, "execute"))
            specs[run] = a_spec(name, engine.image, capsule, gate)
        launches = asyncio.Semaphore(16)

        async def launched(spec):
            async with launches:
                return await engine.provider.launch(spec)

        ids = await asyncio.gather(*(launched(spec) for spec in specs.values()))
    async with fleet.sessions.begin() as session:
        for (run, spec), sandbox in zip(specs.items(), ids, strict=True):
            session.add_all(rows_of(run, like, engine.site, spec, sandbox))
    async with fleet.sessions.begin() as session:
        for statement in AWAY:
            await session.execute(text(statement))
    return list(specs)


def a_spec(name, image, capsule, gate):
    # `/./tmp`: not the sandbox's own. No document: to check one takes a process and half a second.
    result = json.dumps({"outcome": "exited", "exit_code": 0})
    script = f": < /.{gate}; echo '{result}' > /out/result.json"
    return SandboxSpec(
        name=name,
        image=image,
        command=("/bin/sh", "-euc", script),
        limits=Limits(deadline_s=DEADLINE_S),
        inputs=(Input(protocol.CAPSULE, capsule),),
        outputs=(Output("result.json", 1000), Output("document.json", 1000)),
        door=True,
    )


def rows_of(run, like, site, spec, sandbox):
    """As they are while a sandbox runs: its holder has a lease, and the row says LAUNCHED."""
    states = (RunState.QUEUED, RunState.HYDRATING, RunState.EXECUTING)
    moves = itertools.pairwise(states)
    yield Run(
        id=run,
        kind=RunKind.SESSION,
        repo_id=like["repo_id"],
        base_commit=like["base_commit"],
        state=RunState.EXECUTING,
        deadline_s=DEADLINE_S,
        site_id=site.id,
        lease_epoch=1,
        lease_owner="who was killed",
        lease_until=func.now(),
        claims=1,
        event_seq=3,
    )
    yield RunEvent(run_id=run, seq=1, kind="queued", payload={})
    for seq, (one, to) in enumerate(moves, 2):
        yield RunEvent(run_id=run, seq=seq, kind=STATE_CHANGED, payload={"from": one, "to": to})
    yield AgentSession(run_id=run, driver=DRIVER, output_schema=SCHEMA)
    yield Sandbox(
        run_id=run,
        stage="execute",
        name=spec.name,
        fingerprint=spec.fingerprint(),
        spec=spec_to_json(spec),
        engine_id=sandbox,
        state=SandboxState.LAUNCHED,
        launched_at=func.now(),
    )

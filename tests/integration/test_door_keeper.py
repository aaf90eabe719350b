"""Which doors are open follows from the rows: over a real database and real sockets."""

import asyncio
import contextlib
import io
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.base import new_id
from control_plane.gateway.door import Doors
from control_plane.gateway.keeper import DistantGateway, DoorKeeper, listened
from control_plane.gateway.sinks import AuditLog, PostgresChunks
from control_plane.repos.models import Repo
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunKind, RunState, SandboxState
from runners import protocol
from sandboxes.docker.records import door_of
from sandboxes.documents import spec_to_json
from sandboxes.errors import ProviderUnavailable
from sandboxes.names import SandboxName
from sandboxes.spec import Input, Limits, SandboxSpec

INSTALL, CAPSULE = "abcdef", b'{"run": "r"}'


async def marks(_):
    return [INSTALL]


class Site:
    """Rows, door directories, and as many gateways as a test wants."""

    def __init__(self, sessions, home):
        self.sessions, self.home = sessions, home
        store = DirectoryBlobs(home / "blobs")
        self.blobs = ThreadedBlobs(store)
        self.capsule = store.put(io.BytesIO(CAPSULE), 1000).sha256

    def where(self, name):
        return door_of(self.home, name, None)

    def gateway(self, marks=marks, **options):
        doors = Doors(PostgresChunks(self.sessions), self.blobs, AuditLog(self.sessions))
        return DoorKeeper(
            sessions=self.sessions, doors=doors, where=self.where, marks=marks, **options
        )

    async def sandbox(self, *, install=INSTALL, stage="head", egress=(), made=True, spec=None):
        """A planned sandbox of a run of its own."""
        async with self.sessions.begin() as session:
            repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
            session.add(repo)
            await session.flush()
            run = Run(
                kind=RunKind.BASE,
                cache_key=str(new_id()),
                repo_id=repo.id,
                base_commit="0" * 40,
                deadline_s=60.0,
            )
            session.add(run)
            await session.flush()
            name = str(SandboxName(install, run.id, stage))
            spec = spec if spec is not None else spec_to_json(self.spec(name, egress))
            row = Sandbox(run_id=run.id, stage=stage, name=name, fingerprint="f", spec=spec)
            session.add(row)
        if made:
            self.where(name).make()
        return row

    def spec(self, name, egress):
        inputs = (Input(protocol.CAPSULE, self.capsule),)
        image, limits = "sha256:" + "0" * 64, Limits(deadline_s=1)
        return SandboxSpec(
            name, image, protocol.COMMAND, limits, inputs=inputs, door=True, egress=egress
        )

    async def move(self, row, *, sandbox=None, run=None):
        async with self.sessions.begin() as session:
            if sandbox:
                (await session.get_one(Sandbox, row.id)).state = sandbox
            if run:
                await move_run(session, row.run_id, run, epoch=None)

    async def ask(self, row):
        """Its capsule, or None where nobody answers."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.where(row.name).http))
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            with contextlib.suppress(httpx.ConnectError):
                return (await client.get("/capsule")).content
        return None

    async def post(self, row, *texts):
        transport = httpx.AsyncHTTPTransport(uds=str(self.where(row.name).http))
        chunks = [{"stream": "stdout", "seq": n, "data": text} for n, text in enumerate(texts)]
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return (await client.post("/chunks", json={"chunks": chunks})).json()["next"]["stdout"]


@pytest.fixture
def site(sessions):
    home = Path(tempfile.mkdtemp(prefix="k-"))  # a client's path to a socket is short
    yield Site(sessions, home)
    shutil.rmtree(home)


@contextlib.asynccontextmanager
async def serving(keeper):
    task = asyncio.create_task(keeper.serve())
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_door_is_open_from_its_row_to_its_end(site):
    async with serving(site.gateway(poll_s=30)) as keeper:
        row = await site.sandbox()
        await keeper.look()
        planned = await site.ask(row)
        await site.move(row, sandbox=SandboxState.LAUNCHED)
        await keeper.look()
        launched = await site.ask(row)
        await site.move(row, sandbox=SandboxState.ENDED)
        await keeper.look()

        assert (planned, launched, await site.ask(row)) == (CAPSULE, CAPSULE, None)


async def test_a_door_of_a_run_that_is_over_closes_whatever_its_row_says(site):
    async with serving(site.gateway(poll_s=30)) as keeper:
        row = await site.sandbox()
        await keeper.look()
        await site.move(row, run=RunState.LOST)
        await keeper.look()

        assert await site.ask(row) is None


async def test_access_is_that_of_the_row(site):
    async with serving(site.gateway(poll_s=30)) as keeper:
        leaves = await site.sandbox(stage="prepare", egress=("pypi.org:443",))
        stays, unknown = await site.sandbox(), await site.sandbox(stage="other")
        await keeper.look()

        assert site.where(leaves.name).egress.is_socket()
        assert not site.where(stays.name).egress.exists()
        assert b"403" not in await site.ask(stays)
        assert b"no capsule" in await site.ask(unknown)


async def test_a_row_that_makes_no_sense_keeps_no_other_closed(site):
    async with serving(site.gateway(poll_s=30)) as keeper:
        await site.sandbox(spec={})
        greedy = await site.sandbox(stage="head", egress=("pypi.org:443",))
        row = await site.sandbox()
        await keeper.look()

        assert await site.ask(row) == CAPSULE
        assert not site.where(greedy.name).http.exists()


async def test_a_row_that_makes_no_sense_is_said_once(site):
    with capture_logs() as said:
        async with serving(site.gateway(poll_s=0.05)) as keeper:
            broken = await site.sandbox(spec={})
            for _ in range(3):
                await keeper.look()

    assert [line["sandbox"] for line in said if line["event"] == "doors.not_opened"] == [
        broken.name
    ]


async def test_another_installations_doors_are_not_ours(site):
    async with serving(site.gateway(poll_s=30)) as keeper:
        row = await site.sandbox(install="zzzzzz")
        await keeper.look()

        assert not site.where(row.name).http.exists()


async def test_a_gateway_that_came_before_its_site_serves_it_once_it_is_there(site):
    known = []

    async def marks(_):
        return known

    async with serving(site.gateway(marks=marks, poll_s=30)) as keeper:
        row = await site.sandbox()
        await keeper.look()
        assert not site.where(row.name).http.exists()
        known.append(INSTALL)
        await keeper.look()

        assert await site.ask(row) == CAPSULE
        assert await keeper.probe() == "1 open"


async def test_a_gateway_that_cannot_look_says_so(site):
    looks, again = [], asyncio.Event()

    async def marks(_):
        looks.append("looked")
        if len(looks) > 1:
            again.set()
        raise ConnectionError("the database is away")

    async with serving(site.gateway(marks=marks, poll_s=0.01)) as keeper:
        await again.wait()
        with pytest.raises(ConnectionError, match="is away"):
            await keeper.probe()


async def test_a_directory_that_is_not_there_is_waited_for_and_never_made(site):
    async with serving(site.gateway(poll_s=30)) as keeper:
        row = await site.sandbox(made=False)
        await keeper.look()
        assert not site.where(row.name).path.parent.exists()
        site.where(row.name).make()
        await keeper.look()

        assert await site.ask(row) == CAPSULE


async def test_a_stale_holder_changes_nothing(site):
    """D11: the door belongs to its row; the holder that lost its run has nothing to close."""
    async with serving(site.gateway(poll_s=30)) as keeper:
        row = await site.sandbox()
        place = site.where(row.name)
        stale = asyncio.create_task(keeper.answered(row.id, place))
        await stale
        await keeper.answered(row.id, place)  # its successor, in the same process
        inode = place.http.stat().st_ino
        other = DistantGateway(site.sessions)  # and one in another
        await other.answered(row.id, place)
        await keeper.look()

        assert place.http.stat().st_ino == inode
        assert await site.ask(row) == CAPSULE


async def test_a_second_gateway_waits_and_goes_on_where_the_log_stands(site):
    row = await site.sandbox()
    async with serving(site.gateway(poll_s=0.05)):
        async with serving(site.gateway(poll_s=0.05)) as first:
            await first.answered(row.id, site.where(row.name))
            assert await site.post(row, "YQ==", "Yg==") == 2
        await listened(site.where(row.name))

        assert await site.post(row, "YQ==", "Yg==", "Yw==") == 3


async def test_a_restarted_gateway_binds_at_once_what_lives(site):
    rows = [await site.sandbox() for _ in range(3)]
    async with serving(site.gateway()) as keeper:
        await keeper.look()
    assert [await site.ask(row) for row in rows] == [None] * 3

    async with serving(site.gateway(poll_s=30)):
        for row in rows:
            await listened(site.where(row.name))
        assert [await site.ask(row) for row in rows] == [CAPSULE] * 3


async def test_a_door_that_is_opened_while_another_look_is_under_way_stays(site):
    async with serving(site.gateway(poll_s=30)) as keeper:
        for _ in range(10):
            row = await site.sandbox()
            looks = [asyncio.create_task(keeper.look()) for _ in range(5)]
            await keeper.answered(row.id, site.where(row.name))
            await asyncio.gather(*looks)

            assert await site.ask(row) == CAPSULE


async def test_an_orchestrator_elsewhere_wakes_the_gateway_and_waits_for_it(site):
    row = await site.sandbox(made=False)
    bell = DistantGateway(site.sessions)
    ringing = asyncio.create_task(bell.answered(row.id, site.where(row.name)))
    async with serving(site.gateway(poll_s=0.05)):
        await ringing

        assert await site.ask(row) == CAPSULE


async def test_where_no_gateway_comes_it_says_what_to_start(site):
    with pytest.raises(ProviderUnavailable, match="vsc up"):
        await listened(site.where("vsc-abcdef-" + "0" * 32 + "-head-0"), within_s=0.05)


@pytest.mark.parametrize("spec", [{}, {"inputs": 3}])
async def test_a_row_that_makes_no_door_is_told_to_who_waits_for_it(site, spec):
    async with serving(site.gateway(poll_s=30)) as keeper:
        row = await site.sandbox(spec=spec)

        with pytest.raises(ProviderUnavailable, match=f"door of {row.name} stays closed"):
            await keeper.answered(row.id, site.where(row.name))

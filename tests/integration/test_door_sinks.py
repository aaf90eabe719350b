"""A door over the real database: acknowledged is committed, tried is in the audit chain."""

import asyncio

import pytest
from door_kit import directory
from sqlalchemy import func, select

from control_plane.audit.models import AuditLine
from control_plane.audit.service import first_broken_line
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.base import new_id
from control_plane.gateway.access import DoorAccess
from control_plane.gateway.door import Doors
from control_plane.gateway.grants import GRANTS
from control_plane.gateway.numbering import StreamFull
from control_plane.gateway.ports import (
    Chunk,
    Position,
    StreamCaps,
    StreamsSealed,
    TooManyAttempts,
)
from control_plane.gateway.sinks import AuditLog, PostgresChunks
from control_plane.orchestrator.streams import forget_chunks, seal_streams
from control_plane.repos.models import Repo
from control_plane.runs.models import LogChunk, LogStream, Run, Sandbox
from control_plane.runs.rules import RunKind, SandboxState
from control_plane.tasks.models import Task
from quality_gates.model import TaskType

CAPS = StreamCaps({"stdout": 1000, "stderr": 1000, "tests": 1000}, rows=50)


@pytest.fixture
async def access(sessions):
    """A door's access, with the rows that it names."""
    async with sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        task = Task(key=f"TASK-{new_id()}", task_type=TaskType.FEATURE, created_by="operator")
        session.add_all([repo, task])
        await session.flush()
        run = Run(
            kind=RunKind.JUDGE,
            task_id=task.id,
            repo_id=repo.id,
            base_commit="0" * 40,
            deadline_s=60.0,
        )
        session.add(run)
        await session.flush()
        sandbox = Sandbox(
            run_id=run.id, stage="prepare", name=f"vsc-{run.id}", fingerprint="f", spec={}
        )
        session.add(sandbox)
        await session.flush()
        return DoorAccess(
            run.id, sandbox.id, GRANTS["prepare"], "0" * 64, egress=("index.test:1,private",)
        )


@pytest.fixture
async def doors(sessions, tmp_path):
    blobs = ThreadedBlobs(DirectoryBlobs(tmp_path / "blobs"))
    doors = Doors(PostgresChunks(sessions), blobs, AuditLog(sessions))
    yield doors
    await doors.close_all()


def pieces(stream, first, *data):
    return [Chunk(stream, first + n, piece) for n, piece in enumerate(data)]


async def count(sessions, table):
    async with sessions() as session:
        return await session.scalar(select(func.count()).select_from(table))


async def test_chunks_go_on_where_the_database_stands_whichever_gateway_keeps_them(
    sessions, access
):
    first, second = PostgresChunks(sessions), PostgresChunks(sessions)
    await first.append(
        access.sandbox_id, [*pieces("stdout", 0, b"abc", b"d"), *pieces("tests", 0, b"{}")], CAPS
    )
    after = await second.append(access.sandbox_id, pieces("stdout", 1, b"d", b"e"), CAPS)

    assert after == {"stdout": Position(3, 5, 2), "tests": Position(1, 2, 1)}
    async with sessions() as session:
        kept = select(LogChunk.seq, LogChunk.data).where(LogChunk.stream == "stdout")
        rows = (await session.execute(kept.order_by(LogChunk.seq))).all()
    assert [tuple(row) for row in rows] == [(0, b"abcd"), (2, b"e")]


async def test_two_gateways_that_are_sent_the_same_at_once_keep_it_once(sessions, access):
    sinks = [PostgresChunks(sessions) for _ in range(4)]
    for first in range(0, 30, 3):
        chunks = pieces("stdout", first, b"a", b"b", b"c")
        await asyncio.gather(*(sink.append(access.sandbox_id, chunks, CAPS) for sink in sinks))

    assert await count(sessions, LogChunk) == 10
    async with sessions() as session:
        stream = (await session.scalars(select(LogStream))).one()
    assert (stream.next_seq, stream.size_bytes, stream.rows) == (30, 30, 10)


async def test_a_refused_request_keeps_nothing_and_a_stream_of_small_pieces_ends_at_its_rows(
    sessions, access
):
    """D13: as many rows as the cap says, however many one-byte chunks come."""
    sink, seq, refused = PostgresChunks(sessions), 0, 0
    for _ in range(60):
        try:
            await sink.append(access.sandbox_id, pieces("stdout", seq, b"x", b"y"), CAPS)
            seq += 2
        except StreamFull:
            refused += 1

    assert (seq, refused) == (100, 10)
    assert await count(sessions, LogChunk) == 50


async def test_a_sandbox_that_no_row_names_keeps_nothing(sessions):
    with pytest.raises(StreamsSealed):
        await PostgresChunks(sessions).append(new_id(), pieces("stdout", 0, b"a"), CAPS)


async def test_what_is_acknowledged_is_in_the_sealed_log_and_nothing_comes_after(
    sessions, access, tmp_path
):
    sink, blobs = PostgresChunks(sessions), ThreadedBlobs(DirectoryBlobs(tmp_path / "blobs"))
    acknowledged = []

    async def flood():
        for seq in range(1000):
            await sink.append(
                access.sandbox_id, pieces("stdout", seq, b"x"), StreamCaps(CAPS.size_bytes, 9999)
            )
            acknowledged.append(seq)

    flooding = asyncio.create_task(flood())
    while len(acknowledged) < 20:  # noqa: ASYNC110 -- the flood tells nobody
        await asyncio.sleep(0.001)
    sealed = await seal_streams(sessions, blobs, access.sandbox_id)
    with pytest.raises(StreamsSealed):
        await flooding

    assert sealed["stdout"].complete
    assert sealed["stdout"].size_bytes == len(acknowledged)
    assert set(sealed) == {"stdout"}
    with pytest.raises(StreamsSealed):  # nor of a stream that had not begun
        await sink.append(access.sandbox_id, pieces("tests", 0, b"x"), CAPS)
    assert await seal_streams(sessions, blobs, access.sandbox_id) == sealed


async def test_what_has_ended_keeps_nothing_though_its_streams_are_forgotten(sessions, access):
    async with sessions.begin() as session:
        row = await session.get_one(Sandbox, access.sandbox_id)
        row.state = SandboxState.DESTROYED
        await forget_chunks(session, access.sandbox_id)

    with pytest.raises(StreamsSealed):
        await PostgresChunks(sessions).append(access.sandbox_id, pieces("stdout", 0, b"a"), CAPS)
    assert await count(sessions, LogStream) == 0


async def test_attempts_to_leave_are_counted_over_every_gateway(sessions, access):
    async def attempt():
        await AuditLog(sessions).egress(
            access.run_id, access.sandbox_id, "a:1", allowed=False, rule="no", most=3
        )

    for _ in range(3):
        await attempt()
    with pytest.raises(TooManyAttempts):
        await attempt()
    assert await count(sessions, AuditLine) == 3


async def test_every_attempt_is_a_line_of_the_tasks_audit_chain(sessions, doors, access):
    place = directory()
    await doors.open("vsc-1", place, access)

    async def connect(target):
        reader, writer = await asyncio.open_unix_connection(str(place.egress))
        writer.write(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return int(answer.split()[1])

    targets = [f"evil{number}.test:443" for number in range(8)] + ["evil.test\x00.index.test:443"]
    statuses = await asyncio.gather(*(connect(target) for target in targets))

    assert sorted(statuses) == [400] + [403] * 8
    async with sessions() as session:
        run = await session.get_one(Run, access.run_id)
        lines = (
            await session.scalars(
                select(AuditLine).where(AuditLine.chain == run.task_id).order_by(AuditLine.n)
            )
        ).all()
        assert [line.action for line in lines] == ["egress.denied"] * 9
        assert {line.facts["destination"] for line in lines} >= {"evil0.test:443", "evil7.test:443"}
        assert all(line.facts["rule"] for line in lines)
        assert await first_broken_line(session, run.task_id) is None

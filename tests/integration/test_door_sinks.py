"""A door over the real database: what is acknowledged is committed, what was tried is in the audit chain."""

import asyncio
import tempfile
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select

from control_plane.audit.models import AuditLine
from control_plane.audit.service import first_broken_line
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.base import new_id
from control_plane.gateway.door import SOCKET_NAME, Doors
from control_plane.gateway.ports import Chunk, DoorAccess, Position
from control_plane.gateway.sinks import AuditLog, BlobOutputs, PostgresChunks
from control_plane.repos.models import Repo
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.rules import RunKind
from control_plane.tasks.models import Task
from quality_gates.model import TaskType


@pytest.fixture
async def access(sessions):
    """A door's access, with the rows that it names."""
    async with sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        task = Task(key=f"TASK-{new_id()}", task_type=TaskType.FEATURE, created_by="operator")
        session.add_all([repo, task])
        await session.flush()
        run = Run(
            kind=RunKind.TASK,
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
            run.id,
            sandbox.id,
            "prepare",
            b"{}",
            {"out.bin": 1000},
            egress=("index.test:1,private",),
        )


@pytest.fixture
async def doors(sessions, tmp_path):
    blobs = ThreadedBlobs(DirectoryBlobs(tmp_path / "blobs"))
    doors = Doors(PostgresChunks(sessions), BlobOutputs(blobs), AuditLog(sessions))
    yield doors
    await doors.close_all()


async def test_chunks_go_on_where_the_database_stands_after_a_restart(sessions, access):
    sink = PostgresChunks(sessions)
    assert await sink.positions(access.sandbox_id) == {}
    await sink.append(
        access.sandbox_id,
        [Chunk("stdout", 0, b"abc"), Chunk("stdout", 1, b"d"), Chunk("tests", 0, b"{}")],
    )
    await sink.append(
        access.sandbox_id, [Chunk("stdout", 1, b"d")]
    )  # a second control plane, the same runner

    assert await PostgresChunks(sessions).positions(access.sandbox_id) == {
        "stdout": Position(2, 4),
        "tests": Position(1, 2),
    }


async def test_a_sandbox_that_no_row_names_keeps_nothing(sessions):
    with pytest.raises(Exception, match="foreign key"):
        await PostgresChunks(sessions).append(uuid4(), [Chunk("stdout", 0, b"a")])


async def test_an_output_is_a_blob_and_too_large_is_none(doors, access, tmp_path):
    directory = Path(tempfile.mkdtemp(prefix="vsc-door-"))
    await doors.open("vsc-1", directory, access)
    transport = httpx.AsyncHTTPTransport(uds=str(directory / SOCKET_NAME))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        kept = (await client.put("/outputs/out.bin", content=b"x" * 1000)).json()
        assert (await client.put("/outputs/out.bin", content=b"y" * 1001)).status_code == 413

    assert DirectoryBlobs(tmp_path / "blobs").open(kept["sha256"]).read() == b"x" * 1000
    assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1


async def test_every_attempt_is_a_line_of_the_tasks_audit_chain(sessions, doors, access):
    directory = Path(tempfile.mkdtemp(prefix="vsc-door-"))
    await doors.open("vsc-1", directory, access)

    async def connect(target):
        reader, writer = await asyncio.open_unix_connection(str(directory / SOCKET_NAME))
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

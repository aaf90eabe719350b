"""Documents that a session submits, over a real database and real blobs."""

import asyncio
import hashlib

import pytest
from sqlalchemy import select

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.base import new_id
from control_plane.gateway.ports import Accepted, Invalid, Refused, SubmitsSealed
from control_plane.gateway.submissions import PostgresSubmissions
from control_plane.repos.models import Repo
from control_plane.runs.models import RunEvent, Sandbox
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState, SandboxState
from control_plane.sessions.documents import Wrong
from control_plane.sessions.drivers import CommandDriver
from control_plane.sessions.models import AgentSession
from control_plane.sessions.service import queue_session
from sandboxes.errors import DepotUnavailable

SCHEMA = {"type": "object", "required": ["title"]}
GOOD, BETTER, BAD = b'{"title": 1}', b'{"title": 2}', b"{}"


@pytest.fixture
def blobs(tmp_path):
    opened = ThreadedBlobs(DirectoryBlobs(tmp_path / "blobs"))
    yield opened
    opened.close()


@pytest.fixture
async def sandbox(sessions):
    """A launched sandbox of a session that is asked for a document."""
    async with sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        session.add(repo)
        await session.flush()
        run_id = await queue_session(
            session,
            repo_id=repo.id,
            base_commit="0" * 40,
            deadline_s=60.0,
            driver=CommandDriver(("true",)),
            output_schema=SCHEMA,
        )
        row = Sandbox(
            run_id=run_id, stage="execute", name=f"vsc-{run_id}", fingerprint="f", spec={},
            state=SandboxState.LAUNCHED,
        )  # fmt: skip
        session.add(row)
    return row


async def kept(sessions, sandbox):
    async with sessions() as session:
        row = await session.get_one(AgentSession, sandbox.run_id)
        events = select(RunEvent.kind).where(RunEvent.run_id == sandbox.run_id)
        return row.submitted, list(await session.scalars(events.order_by(RunEvent.seq)))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


async def test_the_newest_valid_document_is_a_blob_and_stands_in_the_row(sessions, blobs, sandbox):
    house = PostgresSubmissions(sessions, blobs)
    answers = [
        await house.submit(sandbox.run_id, sandbox.id, content)
        for content in (GOOD, BETTER, BETTER)
    ]

    assert answers == [Accepted(sha256(GOOD)), *[Accepted(sha256(BETTER))] * 2]
    assert await blobs.read(sha256(BETTER), 100) == BETTER
    so_far, events = await kept(sessions, sandbox)
    assert (so_far.document_sha256, so_far.valid, so_far.invalid) == (sha256(BETTER), 2, 0)
    assert events == ["queued", "submit.accepted", "submit.accepted"]


async def test_three_invalid_ones_over_two_gateways_end_it_and_the_valid_one_stands(
    sessions, blobs, sandbox
):
    houses = [PostgresSubmissions(sessions, blobs) for _ in range(2)]
    await houses[0].submit(sandbox.run_id, sandbox.id, GOOD)
    told = [await houses[n % 2].submit(sandbox.run_id, sandbox.id, BAD) for n in range(3)]
    after = await houses[0].submit(sandbox.run_id, sandbox.id, BETTER)

    wrong = (Wrong("$", "'title' is a required property"),)
    assert told == [Invalid(wrong, left) for left in (2, 1, 0)]
    assert isinstance(after, Refused)
    so_far, events = await kept(sessions, sandbox)
    assert (so_far.document_sha256, so_far.invalid) == (sha256(GOOD), 3)
    assert events[-1] == "submit.invalid"


async def test_many_at_once_are_counted_exactly(sessions, blobs, sandbox):
    houses = [PostgresSubmissions(sessions, blobs) for _ in range(2)]
    answers = await asyncio.gather(
        *(houses[n % 2].submit(sandbox.run_id, sandbox.id, BAD) for n in range(6))
    )

    invalid = [answer.tries_left for answer in answers if isinstance(answer, Invalid)]
    assert sorted(invalid) == [0, 1, 2]
    assert sum(isinstance(answer, Refused) for answer in answers) == 3


@pytest.mark.parametrize("ends", ["sandbox", "run", "sandbox, while it is checked"])
async def test_after_the_end_nothing_is_taken(sessions, blobs, sandbox, ends, monkeypatch):
    house = PostgresSubmissions(sessions, blobs)

    async def end():
        async with sessions.begin() as session:
            if ends == "run":
                await move_run(session, sandbox.run_id, RunState.LOST, epoch=None)
            else:
                (await session.get_one(Sandbox, sandbox.id)).state = SandboxState.ENDED

    if "while" in ends:
        put = blobs.put

        async def put_late(*arguments):
            await end()
            return await put(*arguments)

        monkeypatch.setattr(blobs, "put", put_late)
    else:
        await end()

    with pytest.raises(SubmitsSealed):
        await house.submit(sandbox.run_id, sandbox.id, GOOD)
    assert (await kept(sessions, sandbox))[0].document_sha256 is None


async def test_a_document_that_cannot_be_kept_is_not_noted(sessions, blobs, sandbox, monkeypatch):
    async def away(*_):
        raise DepotUnavailable("the store is away")

    monkeypatch.setattr(blobs, "put", away)
    with pytest.raises(DepotUnavailable):
        await PostgresSubmissions(sessions, blobs).submit(sandbox.run_id, sandbox.id, GOOD)

    so_far, events = await kept(sessions, sandbox)
    assert (so_far.document_sha256, so_far.valid, events) == (None, 0, ["queued"])

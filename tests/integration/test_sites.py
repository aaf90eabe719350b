"""Two homes over one database are one installation with two sites, and none takes the other's."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.base import new_id
from control_plane.orchestrator.children import Wanted, ensure_child
from control_plane.orchestrator.lost_sites import LostSites
from control_plane.orchestrator.stages import stage_end
from control_plane.repos.models import Repo
from control_plane.runs import leases
from control_plane.runs.errors import LeaseLost
from control_plane.runs.models import LogChunk, LogStream, Run, RunEvent, Sandbox
from control_plane.runs.moves import move_run
from control_plane.runs.rules import SHARED, RunKind, RunState, SandboxState
from control_plane.sites.errors import BlobsElsewhere, StoreTaken
from control_plane.sites.models import Installation, Site
from control_plane.sites.service import installation, join, of_home, same_blobs, share_blobs
from control_plane.tasks.models import Task
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TaskStatus
from control_plane.tasks.service import Submission, submit
from quality_gates.model import TaskType
from sandboxes.spec import Ended

GRACE_S = 60.0


async def a_site(sessions, home):
    async with sessions.begin() as session:
        return await join(session, "docker:AAAA", home, 60.0)


async def a_run(sessions, site, states, kind=RunKind.SESSION):
    """A run that `site` has begun and holds, with one sandbox that lives."""
    async with sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        task = Task(key=f"TASK-{new_id()}", task_type=TaskType.FEATURE, created_by="operator")
        session.add_all([repo, task])
        await session.flush()
        run = Run(
            kind=kind,
            task_id=None if kind in SHARED else task.id,
            cache_key=new_id().hex if kind in SHARED else None,
            repo_id=repo.id,
            base_commit="0" * 40,
            deadline_s=60.0,
        )
        session.add(run)
        await session.flush()
        claimed = await leases.claim_next(session, "theirs", 3600.0, site.id)
        assert claimed.id == run.id
        for state in states:
            await move_run(session, run.id, state, epoch=claimed.lease_epoch)
        if run.task_id is not None:
            await move_task(session, run.task_id, TaskStatus.IN_PROGRESS)
        name = f"vsc-{site.name}-{run.id.hex}-execute-0"
        sandbox = Sandbox(
            run_id=run.id, stage="execute", n=0, name=name, fingerprint="", spec={},
            state=SandboxState.LAUNCHED, engine_id="theirs",
        )  # fmt: skip
        run.site_id = site.id
        session.add(sandbox)
        await session.flush()
        chunk = {"sandbox_id": sandbox.id, "stream": "stdout"}
        session.add(LogStream(**chunk, next_seq=1, size_bytes=6, rows=1))
        session.add(LogChunk(**chunk, seq=0, data=b"so far"))
    return await seen(sessions, Run, run.id)


async def seen(sessions, model, key: UUID):
    async with sessions() as session:
        return await session.get_one(model, key)


async def silent_for(sessions, site, seconds):
    async with sessions.begin() as session:
        until = func.now() - timedelta(seconds=seconds)
        await session.execute(update(Site).where(Site.id == site.id).values(lease_until=until))


@pytest.fixture
def lost(sessions, tmp_path):
    return LostSites(sessions, ThreadedBlobs(DirectoryBlobs(tmp_path)), GRACE_S)


async def test_all_who_ask_at_once_get_one_installation(sessions):
    async def ask():
        async with sessions.begin() as session:
            return (await installation(session)).id

    assert len(set(await asyncio.gather(*(ask() for _ in range(8))))) == 1
    async with sessions() as session:
        assert len((await session.scalars(select(Installation))).all()) == 1


async def test_a_home_and_its_engine_are_one_site_and_another_home_is_another(sessions):
    one, again, other = [await a_site(sessions, home) for home in ("/one", "/one", "/other")]

    assert one.id == again.id
    assert other.name != one.name
    assert other.name[:3] == one.name[:3]


async def test_what_a_site_has_begun_is_claimed_by_that_site_alone(sessions):
    ours, theirs = await a_site(sessions, "/ours"), await a_site(sessions, "/theirs")
    run = await a_run(sessions, theirs, [RunState.HYDRATING, RunState.EXECUTING])
    async with sessions.begin() as session:
        await leases.release(session, run.id, run.lease_epoch)

    async with sessions.begin() as session:
        assert await leases.claim_next(session, "ours", 60.0, ours.id) is None
        assert await leases.claim_next(session, "nobody's", 60.0) is None
        assert (await leases.claim_next(session, "theirs", 60.0, theirs.id)).id == run.id


async def test_a_session_of_a_site_that_is_gone_is_lost_with_the_reason(sessions, lost):
    site = await a_site(sessions, "/gone")
    run = await a_run(sessions, site, [RunState.HYDRATING, RunState.EXECUTING])
    await silent_for(sessions, site, GRACE_S + 5)

    assert await lost.once() == 1
    assert await lost.once() == 0

    ended = await seen(sessions, Run, run.id)
    assert (ended.state, ended.verdict) == (RunState.LOST, None)
    assert "/gone" in ended.cause
    task = await seen(sessions, Task, run.task_id)
    assert (task.status, task.retry_count) == (TaskStatus.QUEUED, 0)
    async with sessions() as session:
        sandbox = await session.scalar(select(Sandbox).where(Sandbox.run_id == run.id))
        assert (await session.scalars(select(LogChunk))).all() == []
    assert sandbox.state is SandboxState.DESTROYED
    end = stage_end(sandbox)
    assert end.outcome.ended is Ended.LOST
    assert end.streams["stdout"].size_bytes == len(b"so far")


class SlowStore(ThreadedBlobs):
    """A store in which something else happens while the first blob is put."""

    def __init__(self, root, meanwhile):
        super().__init__(DirectoryBlobs(root))
        self.meanwhile = meanwhile

    async def put(self, source, max_bytes=None):
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().put(source, max_bytes)


async def two_judgements_of_a_lost_site(sessions):
    site = await a_site(sessions, "/gone")
    runs = [
        await a_run(sessions, site, [RunState.HYDRATING, RunState.VERIFYING], RunKind.JUDGE)
        for _ in range(2)
    ]
    await silent_for(sessions, site, GRACE_S + 5)
    return site, runs


async def sandboxes_of(sessions, run):
    async with sessions() as session:
        query = select(Sandbox).where(Sandbox.run_id == run.id).order_by(Sandbox.n)
        return list(await session.scalars(query))


async def test_who_looks_slowly_takes_nothing_from_the_site_that_has_begun_again(
    sessions, lost, tmp_path
):
    """Two orchestrators see the loss; when the second gets there, the run is under way anew."""
    _, runs = await two_judgements_of_a_lost_site(sessions)
    ours = await a_site(sessions, "/ours")

    async def the_other_is_done_and_begins_again():
        await lost.once()
        async with sessions.begin() as session:
            for run in runs:
                name = f"vsc-{ours.name}-{run.id.hex}-execute-1"
                session.add(Sandbox(
                    run_id=run.id, stage="execute", n=1, name=name, fingerprint="", spec={},
                    state=SandboxState.LAUNCHED, engine_id="ours",
                ))  # fmt: skip
                await session.execute(update(Run).where(Run.id == run.id).values(site_id=ours.id))

    slow = SlowStore(tmp_path / "slow", the_other_is_done_and_begins_again)
    await LostSites(sessions, slow, GRACE_S).once()

    states = [[box.state for box in await sandboxes_of(sessions, run)] for run in runs]
    assert states == [[SandboxState.DESTROYED, SandboxState.LAUNCHED]] * 2


async def test_a_site_that_comes_back_keeps_the_sandboxes_that_nobody_has_given_up_yet(
    sessions, tmp_path
):
    site, runs = await two_judgements_of_a_lost_site(sessions)

    async def back():
        await silent_for(sessions, site, -60)

    slow = SlowStore(tmp_path / "slow", back)
    assert await LostSites(sessions, slow, GRACE_S).once() == 0

    boxes = [box for run in runs for box in await sandboxes_of(sessions, run)]
    assert [box.state for box in boxes] == [SandboxState.LAUNCHED] * 2
    async with sessions() as session:
        rows = await session.scalars(select(LogChunk.sandbox_id))
        assert set(rows) == {box.id for box in boxes}
        sealed = select(LogStream.sandbox_id).where(LogStream.sealed)
        assert boxes[1].id not in set(await session.scalars(sealed))


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        (RunKind.JUDGE, [RunState.HYDRATING, RunState.VERIFYING]),
        (RunKind.SESSION, [RunState.HYDRATING]),
        (RunKind.PREPARE, [RunState.HYDRATING, RunState.EXECUTING]),
        (RunKind.BASE, [RunState.HYDRATING, RunState.VERIFYING]),
    ],
)  # fmt: skip
async def test_what_else_it_had_begun_is_begun_again_elsewhere(sessions, lost, kind, states):
    site, ours = await a_site(sessions, "/gone"), await a_site(sessions, "/ours")
    run = await a_run(sessions, site, states, kind)
    await silent_for(sessions, site, GRACE_S + 5)

    assert await lost.once() == 1

    async with sessions.begin() as session:
        with pytest.raises(LeaseLost):
            await leases.renew(session, run.id, run.lease_epoch, 60.0)
    async with sessions.begin() as session:
        claimed = await leases.claim_next(session, "ours", 60.0, ours.id)
        assert (claimed.id, claimed.site_id, claimed.state) == (run.id, None, states[-1])
        kinds = (
            await session.scalars(select(RunEvent.kind).where(RunEvent.run_id == run.id))
        ).all()
    assert kinds[-1] == "begun_again"


@pytest.mark.parametrize("silent_s", [-30.0, GRACE_S - 5])
async def test_a_site_that_may_come_back_keeps_its_runs(sessions, lost, silent_s):
    site = await a_site(sessions, "/theirs")
    run = await a_run(sessions, site, [RunState.HYDRATING, RunState.EXECUTING])
    await silent_for(sessions, site, silent_s)

    assert await lost.once() == 0

    assert (await seen(sessions, Run, run.id)).site_id == site.id


async def test_a_homes_sites_are_found_without_asking_an_engine(sessions):
    async with sessions.begin() as session:
        asked = [("docker:a", 60.0), ("docker:b", 90.0), ("memory:/e", 99.0), ("docker:c", 70.0)]
        joined = [
            await join(session, engine, "/home_1" if engine != "docker:c" else "/home_2", s)
            for engine, s in asked
        ]

        by_docker = await of_home(session, "/home_1", "docker")
        in_memory = await of_home(session, "/home_1", "memory:/e")

        assert [site.id for site in by_docker] == [joined[1].id, joined[0].id], "last at work first"
        assert [site.id for site in in_memory] == [joined[2].id]
        assert await of_home(session, "/home_1", "memory:/other") == []


async def test_what_no_site_has_begun_is_any_sites_with_all_that_it_waits_for(sessions):
    """Wherever it was submitted: what it needs is in the database and the blob store."""
    ours, theirs = await a_site(sessions, "/ours"), await a_site(sessions, "/theirs")
    async with sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        session.add(repo)
        await session.flush()
        asked = Submission(repo_id=repo.id, base_commit="0" * 40, patch_sha256="0" * 64)
        await submit(session, asked, by="operator")
        wanted = Wanted(RunKind.BASE, new_id().hex, repo.id, "0" * 40, 60.0, policy={})
        await ensure_child(session, wanted)

        claimed = [
            await leases.claim_next(session, "theirs", 60.0, theirs.id),
            await leases.claim_next(session, "ours", 60.0, ours.id),
        ]
        assert {run.kind for run in claimed} == {RunKind.JUDGE, RunKind.BASE}


async def test_a_home_with_another_blob_store_is_refused_and_one_with_the_same_is_not(
    sessions, tmp_path
):
    shared, other = (ThreadedBlobs(DirectoryBlobs(tmp_path / name)) for name in ("a", "b"))
    await share_blobs(sessions, shared, "/one", "docker:AAAA")
    await a_site(sessions, "/one")

    await share_blobs(sessions, shared, "/two", "docker:AAAA")
    with pytest.raises(BlobsElsewhere, match="VSC_BLOBS"):
        await share_blobs(sessions, other, "/two", "docker:AAAA")
    with pytest.raises(BlobsElsewhere):
        await same_blobs(sessions, other)  # an API alone
    await share_blobs(sessions, other, "/one", "docker:AAAA")  # alone, it may have lost its blobs


async def test_homes_that_are_not_at_work_keep_none_from_starting_anew(sessions, tmp_path):
    """The store of a home that is gone for good may be gone with it."""
    shared, other = (ThreadedBlobs(DirectoryBlobs(tmp_path / name)) for name in ("a", "b"))
    await share_blobs(sessions, shared, "/one", "docker:AAAA")
    await silent_for(sessions, await a_site(sessions, "/one"), 1)

    await share_blobs(sessions, other, "/two", "docker:AAAA")


async def test_one_home_with_two_stores_is_refused_where_only_one_process_was_told_of_the_store(
    sessions, tmp_path
):
    """As when VSC_BLOBS is set for the orchestrator and forgotten for the API beside it."""
    shared, forgotten = (ThreadedBlobs(DirectoryBlobs(tmp_path / name)) for name in ("a", "b"))
    await share_blobs(sessions, shared, "/one", "docker:AAAA")
    await a_site(sessions, "/one")

    await same_blobs(sessions, shared)
    with pytest.raises(BlobsElsewhere, match="VSC_BLOBS"):
        await same_blobs(sessions, forgotten)


async def test_an_api_that_came_first_leaves_no_mark_that_would_hide_its_mistake(
    sessions, tmp_path
):
    shared, forgotten = (ThreadedBlobs(DirectoryBlobs(tmp_path / name)) for name in ("a", "b"))
    await same_blobs(sessions, forgotten)  # nobody is at work: nothing to compare with

    await share_blobs(sessions, shared, "/one", "docker:AAAA")
    await a_site(sessions, "/one")

    with pytest.raises(BlobsElsewhere):
        await same_blobs(sessions, forgotten)  # as `ready` asks again


async def test_a_store_of_another_database_is_refused_before_anything_in_it_is_collected(
    sessions, tmp_path
):
    """As when VSC_DATABASE_URL is forgotten and VSC_BLOBS is not: nothing here names its blobs."""
    theirs = ThreadedBlobs(DirectoryBlobs(tmp_path))
    await theirs.put(b"vsc installation 00000000-0000-0000-0000-000000000001")
    await theirs.put(b"vsc installation that is none, in as many bytes......")

    with pytest.raises(StoreTaken, match="VSC_DATABASE_URL"):
        await share_blobs(sessions, theirs, "/one", "docker:AAAA")

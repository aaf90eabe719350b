"""A home that is filled and collected: what somebody needs stays, what nothing names goes."""

import asyncio
import json
import os
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.cli.keeping import survey_document, survey_rows
from control_plane.db.base import Base, new_id
from control_plane.gateway.ports import Chunk, StreamCaps
from control_plane.gateway.sinks import PostgresChunks
from control_plane.judgements.models import Judgement
from control_plane.orchestrator.reconcile import Reconciler
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.models import EnvironmentRow, Repo, Snapshot
from control_plane.repos.snapshots import Snapshots
from control_plane.retention.collector import Collector
from control_plane.retention.errors import AlreadyCollecting, StoreNotJoined
from control_plane.retention.rules import Keep, Kind
from control_plane.runs import logs
from control_plane.runs.models import LogChunk, Run, Sandbox, SharedRun
from control_plane.runs.rules import RunKind, RunState, SandboxState
from control_plane.sessions.models import AgentSession
from control_plane.sites.service import share_blobs
from control_plane.tables import ROOMS
from control_plane.tasks.models import Task
from quality_gates.model import TaskType, Verdict
from runners import protocol
from sandboxes.errors import BlobMissing

DAY = timedelta(days=1)
CAPS = StreamCaps({"stdout": 1000}, 10)
NOW = datetime.now(UTC)
KEEP = Keep(results=100 * DAY, logs=10 * DAY, outputs=20 * DAY, prepared=30 * DAY, unnamed=2 * DAY)
KNOWN_COLUMNS = {
    "api_tokens.token_sha256": "no blob: the hash of a token",
    "audit_log.previous_sha256": "no blob: the line before",
    "audit_log.sha256": "no blob: the line itself",
    "packets.sha256": "no blob: the document is a column",
    "environments.sha256": "no blob: the hash of the list of its layers",
    "snapshots.archive_sha256": "Kind.SNAPSHOT",
    "judgements.patch_sha256": "Kind.PATCH",
    "judgements.report_sha256": "Kind.REPORT",
    "sessions.patch_sha256": "Kind.PATCH",
    "sessions.document_sha256": "Kind.DOCUMENT",
    "tasks.patch_sha256": "Kind.PATCH",
    "tasks.request_sha256": "no blob: what was asked under an idempotency key",
}


class Home:
    """Blobs with an age, and rows that name them."""

    def __init__(self, sessions, root) -> None:
        self.sessions, self.store = sessions, DirectoryBlobs(root / "blobs")
        self.blobs, self.mirrors = ThreadedBlobs(self.store), Mirrors(root / "mirrors")
        self.mark = None

    def collector(self, keep=KEEP, **more):
        return Collector(self.sessions, self.blobs, self.mirrors, keep, **more)

    async def put(self, content, age=1000 * DAY):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        sha256 = (await self.blobs.put(content)).sha256
        at = (NOW - age).timestamp()
        os.utime(self.store.path(sha256), (at, at))
        return sha256

    async def run(self, ended=None, *, kind=RunKind.BASE, beside=None):
        """A run that ended so long ago (None: it lives), and the row `beside` it."""
        async with self.sessions.begin() as session:
            repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
            task = Task(key=f"T-{new_id()}", task_type=TaskType.FEATURE, created_by="operator")
            session.add_all([repo, task])
            await session.flush()
            of_its_kind = (
                {"cache_key": f"{new_id()}"}
                if kind is RunKind.BASE
                else {"task_id": task.id, "verdict": Verdict.PASSED}
            )
            run = Run(
                kind=kind,
                repo_id=repo.id,
                base_commit="0" * 40,
                deadline_s=60.0,
                state=RunState.QUEUED if ended is None else RunState.FINISHED,
                finished_at=None if ended is None else NOW - ended,
                **of_its_kind,
            )
            session.add(run)
            await session.flush()
            if beside is not None:
                beside.run_id = run.id
                session.add(beside)
        return run

    async def sandbox(self, run, *, spec=None, outcome=None, state=SandboxState.DESTROYED):
        async with self.sessions.begin() as session:
            name = f"vsc-abcdef-{new_id()}"
            row = Sandbox(
                run_id=run.id, stage="head", name=name, fingerprint="f", spec=spec or {},
                outcome=outcome, state=state,
            )  # fmt: skip
            session.add(row)
        return row

    async def left(self):
        return {kept.sha256 async for kept in self.blobs.every()} - {self.mark}


@pytest.fixture
def stranger(sessions, tmp_path):
    """A home whose store nobody has joined."""
    made = Home(sessions, tmp_path)
    with closing(made.blobs):
        yield made


@pytest.fixture
async def home(stranger):
    await share_blobs(stranger.sessions, stranger.blobs, "/one", "docker:AAAA")
    [stranger.mark] = await stranger.left()
    return stranger


def artifact(sha256):
    return {"sha256": sha256, "size_bytes": 1}


async def a_judged_task(home, ended):
    """A task's run with everything that one leaves; what each of its blobs is."""
    made = {}
    for kind in ("patch", "log", "output", "delta", "packet", "dependency", "inner"):
        made[kind] = await home.put(f"{kind} {ended} {new_id()}".encode())
    made["report"] = await home.put({"evidence": [f"sha256:{made['inner']}"], "n": str(new_id())})
    made["capsule"] = await home.put({"needs": made["dependency"], "n": str(new_id())})
    run = await home.run(
        ended,
        kind=RunKind.JUDGE,
        beside=Judgement(patch_sha256=made["patch"], report_sha256=made["report"], policy={}),
    )
    spec = {
        "inputs": [
            {"path": protocol.CAPSULE, "sha256": made["capsule"]},
            {"path": protocol.PACKET, "sha256": made["packet"]},
        ],
        "workspace": {"base": "0" * 64, "delta": made["delta"]},
    }
    outcome = {
        "outputs": {"result.json": artifact(made["output"])},
        "streams": {"stdout": artifact(made["log"])},
    }
    await home.sandbox(run, spec=spec, outcome=outcome)
    return made


async def test_what_an_ended_run_left_goes_by_kind_and_age_and_what_a_report_names_stays(home):
    fresh = await a_judged_task(home, 1 * DAY)
    middle = await a_judged_task(home, 15 * DAY)
    old = await a_judged_task(home, 50 * DAY)
    ancient = await a_judged_task(home, 200 * DAY)
    live = await a_judged_task(home, None)
    stray = await home.put(b"an upload that nobody used" * 1000)
    young = await home.put(b"an upload of this morning", age=DAY / 2)

    survey = await home.collector().survey(NOW)
    assert len(await home.left()) == 9 * 5 + 2  # looking changes nothing
    done = await home.collector().collect(NOW)

    assert await home.left() == (
        {*fresh.values(), *live.values(), young}
        | {*middle.values()} - {middle["log"]}
        | {old[kind] for kind in ("patch", "report", "inner", "capsule", "dependency")}
    )
    gone = {kind: tally.blobs for kind, tally in done.gone.items()}
    assert gone == {
        Kind.LOG: 3, Kind.OUTPUT: 2, Kind.PATCH: 1, Kind.REPORT: 1, Kind.CAPSULE: 1,
        Kind.INPUT: 4, Kind.UNNAMED: 3,
    }  # fmt: skip
    assert done.gone[Kind.UNNAMED].size_bytes > 26_000
    assert (survey.gone, survey.gone_bytes) == (done.gone, done.gone_bytes)
    assert done.young.blobs == 1
    assert stray not in await home.left()
    assert ancient["report"] not in await home.left()
    again = await home.collector().collect(NOW)
    assert (again.gone, again.kept) == ({}, done.kept)


async def test_what_a_session_made_and_what_a_task_waits_with_stay(home):
    document, patch, given = [await home.put(f"{name}".encode()) for name in ("doc", "p", "given")]
    agent = {"driver": {"kind": "command", "argv": ["true"]}}
    session_ = AgentSession(document_sha256=document, **agent)
    await home.run(50 * DAY, kind=RunKind.SESSION, beside=session_)
    old = AgentSession(patch_sha256=patch, **agent)
    await home.run(200 * DAY, kind=RunKind.SESSION, beside=old)
    async with home.sessions.begin() as session:
        session.add(
            Task(
                key=f"T-{new_id()}",
                task_type=TaskType.FEATURE,
                created_by="operator",
                patch_sha256=given,
            )
        )

    await home.collector().collect(NOW)

    assert await home.left() == {document, given}


async def test_what_lives_is_found_in_every_column_and_in_a_sandbox_that_still_stands(home):
    somewhere, standing = await home.put(b"in the policy"), await home.put(b"in an old sandbox")
    await home.run(beside=SharedRun(policy={"deep": [{"x": f"sha256:{somewhere}"}]}))
    ended = await home.run(1000 * DAY)
    await home.sandbox(ended, spec={"x": f"a layer {standing}"}, state=SandboxState.ENDED)

    await home.collector().collect(NOW)

    assert await home.left() == {somewhere, standing}


async def test_a_blob_that_is_put_again_while_it_is_collected_stays(home, monkeypatch):
    sha256 = await home.put(b"old, and wanted again in a moment")
    collector = home.collector()
    survey = collector.survey

    async def surveyed_late(now):
        found = await survey(now)
        assert [one.sha256 for one in found.doomed] == [sha256]
        await home.blobs.renew(sha256)
        return found

    monkeypatch.setattr(collector, "survey", surveyed_late)
    await collector.collect(NOW)

    assert await home.left() == {sha256}


async def test_a_reader_of_a_blob_that_goes_meanwhile_reads_it_to_the_end(home):
    content = bytes(range(256)) * 2**15
    sha256 = await home.put(content)
    stream = home.blobs.stream(sha256)
    begun = await anext(stream)

    await home.collector().collect(NOW)

    assert begun + b"".join([block async for block in stream]) == content
    with pytest.raises(BlobMissing):
        await home.blobs.stat(sha256)


async def an_environment(home, used):
    archive = await home.put(f"an archive {new_id()}".encode())
    async with home.sessions.begin() as session:
        row = EnvironmentRow(
            cache_key=f"{new_id()}", sha256="e" * 64, layers=[archive], used_at=NOW - used
        )
        session.add(row)
    return row


async def test_an_environment_goes_when_no_run_has_used_it_for_long_and_runs_forget_it(home):
    used, unused = await an_environment(home, 5 * DAY), await an_environment(home, 40 * DAY)
    held = await an_environment(home, 40 * DAY)
    ended = await home.run(40 * DAY, beside=SharedRun(environment_id=unused.id))
    await home.run(beside=SharedRun(environment_id=held.id))

    await home.collector().collect(NOW)

    assert await home.left() >= {used.layers[0]}
    assert unused.layers[0] not in await home.left()
    async with home.sessions() as session:
        assert set(await session.scalars(select(EnvironmentRow.id))) == {used.id, held.id}
        assert (await session.get_one(SharedRun, ended.id)).environment_id is None


async def test_an_environment_stays_as_long_as_a_report_that_names_it(home):
    """By the hash of the list of its layers: only the row leads from that to the layers."""
    reported, elsewhere = await an_environment(home, 90 * DAY), await an_environment(home, 90 * DAY)
    report = await home.put({"environment_sha256": reported.sha256})
    judgement = Judgement(
        patch_sha256=await home.put(b"patch"),
        report_sha256=report,
        policy={},
        environment_id=reported.id,
    )
    await home.run(90 * DAY, kind=RunKind.JUDGE, beside=judgement)

    await home.collector().collect(NOW)
    assert reported.layers[0] in await home.left()
    assert elsewhere.layers[0] not in await home.left()
    await home.collector().collect(NOW + 11 * DAY)
    assert await home.left() == set()
    async with home.sessions() as session:
        assert list(await session.scalars(select(EnvironmentRow))) == []


async def test_a_snapshot_goes_when_no_run_has_used_it_for_long_and_is_made_anew(home, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("a = 1\n")
    async with home.sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        session.add(repo)
    commit = await home.mirrors.import_path(repo.id.hex, source)
    snapshots = Snapshots(home.sessions, home.mirrors, LocalDepot(home.store), tmp_path / "locks")
    archive = await snapshots.ensure(repo.id, commit)
    long_after = NOW + 40 * DAY

    await home.collector().collect(NOW + 20 * DAY)
    assert await home.left() == {archive}
    await home.collector().collect(long_after)
    assert await home.left() == set()
    assert await snapshots.ensure(repo.id, commit) == archive
    assert await home.left() == {archive}


async def test_a_snapshot_stays_while_a_run_on_its_commit_lives(home):
    """Another home may have to begin that run, and has nothing else of the repository."""
    run, archive = await home.run(), await home.put(b"the archive of a commit")
    async with home.sessions.begin() as session:
        row = {"repo_id": run.repo_id, "commit": run.base_commit, "archive_bytes": 1}
        session.add(Snapshot(**row, archive_sha256=archive, used_at=NOW - 400 * DAY))

    await home.collector().collect(NOW)
    assert await home.left() == {archive}
    async with home.sessions.begin() as session:
        ended = {"state": RunState.FINISHED, "finished_at": NOW}
        await session.execute(update(Run).where(Run.id == run.id).values(**ended))
    await home.collector().collect(NOW)
    assert await home.left() == set()


async def test_the_mark_of_the_blob_store_stays(home):
    await home.collector().collect(datetime.now(UTC) + 400 * DAY)

    assert [kept.sha256 async for kept in home.blobs.every()] == [home.mark]


async def test_a_store_that_was_never_joined_is_not_collected(stranger):
    """The rows of another database say nothing about it: all would be named by nothing."""
    theirs = await stranger.put(b"a patch of another installation")

    with pytest.raises(StoreNotJoined, match="VSC_DATABASE_URL"):
        await stranger.collector().collect(NOW)

    assert await stranger.left() == {theirs}


async def test_a_clock_that_is_ahead_makes_nothing_old(home):
    """What is put and not yet named; rows are written by the database's clock."""
    fresh = await home.put(b"fresh", age=timedelta(0))
    row = await an_environment(home, timedelta(0))

    ahead = home.collector(clock=lambda: NOW + 400 * DAY)
    assert (await ahead.collect()).doomed == ()

    assert await home.left() >= {fresh, *row.layers}


async def test_who_finds_an_environment_while_it_is_dropped_has_it_or_makes_it_anew(home):
    """The finder's transaction is open when the collector comes: it waits, then looks again."""
    row = await an_environment(home, 40 * DAY)
    async with home.sessions() as session, session.begin():
        used = update(EnvironmentRow).where(EnvironmentRow.id == row.id)
        found = await session.scalar(used.values(used_at=NOW).returning(EnvironmentRow.id))
        collecting = asyncio.create_task(home.collector().collect(NOW))
        async with home.sessions() as watcher:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not await watcher.scalar(waiting):
                await watcher.rollback()
        assert found == row.id
    await collecting

    assert await home.left() == {row.layers[0]}


async def test_base_results_are_dropped_first_and_collected_when_nobody_can_still_read_them(home):
    output = await home.put(b"what base's tests said")
    run = await home.run(31 * DAY, beside=SharedRun(cacheable=True))
    await home.sandbox(run, outcome={"outputs": {"junit.xml": artifact(output)}})

    await home.collector().collect(NOW)
    async with home.sessions() as session:
        assert (await session.get_one(SharedRun, run.id)).cacheable is False
    assert await home.left() == {output}

    await home.collector().collect(NOW + 2 * DAY)
    assert await home.left() == set()


async def test_one_process_collects_at_a_time(home):
    stray = await home.put(b"stray")
    async with home.collector()._alone():
        with pytest.raises(AlreadyCollecting, match="another process"):
            await home.collector().collect(NOW)
    assert await home.left() == {stray}

    await home.collector().collect(NOW)
    assert await home.left() == set()


def test_every_column_that_holds_a_hash_is_known_to_the_collector():
    assert ROOMS  # importing them registers every table
    columns = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if column.name.endswith("sha256")
    }
    assert columns == KNOWN_COLUMNS.keys()


async def test_the_log_of_a_lost_run_is_a_blob_and_its_rows_are_gone(home):
    run = await home.run(1 * DAY)
    row = await home.sandbox(run, state=SandboxState.LAUNCHED)
    await PostgresChunks(home.sessions).append(
        row.id, [Chunk("stdout", 0, b"until here, "), Chunk("stdout", 1, b"and lost")], CAPS
    )
    reconciler = Reconciler(
        sessions=home.sessions, provider=NoEngine(), blobs=home.blobs, install="abcdef"
    )

    await reconciler.once()
    await reconciler.once()

    async with home.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(LogChunk)) == 0
        assert (await session.get_one(Sandbox, row.id)).state is SandboxState.DESTROYED
    told = [
        record["text"]
        async for record in logs.read(
            home.sessions, home.blobs, run.id, logs.Wanted(), follow=False
        )
        if "text" in record
    ]
    assert "".join(told) == "until here, and lost"


class NoEngine:
    """It has forgotten everything."""

    async def owned(self):
        return
        yield


async def test_a_mirror_of_many_small_things_becomes_one_pack_and_loses_nothing(home, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(21):  # so many files at once are a pack of their own
        for other in range(110):
            (source / f"{other}.txt").write_text(f"{number} {other}\n")
        head = await home.mirrors.import_path("r1", source)
    git = home.mirrors.git("r1")
    loose = await git.line("hash-object", "-w", "--stdin", stdin=b"what a run has just made")
    kept = tmp_path / "mirrors" / "r1.git" / "objects" / "pack"
    assert len(list(kept.glob("*.pack"))) >= 20

    await home.collector().collect(NOW)

    assert len(list(kept.glob("*.pack"))) == 1
    assert await home.mirrors.resolve("r1", "HEAD") == head
    assert await git.line("cat-file", "-t", loose) == "blob"
    assert not await home.mirrors.repack("r1")


async def test_a_look_shows_people_and_machines_the_same(home):
    await a_judged_task(home, 15 * DAY)
    await home.put(b"x" * 2**20)
    survey = await home.collector().survey(NOW)

    rows = {row["kind"]: row for row in survey_rows(survey)}
    document = survey_document(survey, collected=False)

    assert rows["named by nothing"] == {
        "kind": "named by nothing",
        "stays": "",
        "goes": "1 MiB in 1",
    }
    assert rows["patches"]["stays"].endswith("in 1")
    assert document["gone"]["named by nothing"] == {"blobs": 1, "bytes": 2**20}
    assert not document["collected"]

"""Engine against rows, both ways, with real sandboxes (faults F36, I4)."""

import uuid

import pytest
from sandbox_fixtures import docker_provider
from sandbox_kit import Kit

from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.base import new_id
from control_plane.orchestrator.reconcile import Reconciler
from control_plane.repos.models import Repo
from control_plane.runs.models import Run, Sandbox
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunKind, RunState, SandboxState
from sandboxes.docker.workspaces import OverlayWorkspaces
from sandboxes.names import SandboxName
from sandboxes.spec import Ended

pytestmark = pytest.mark.docker

SLEEP = "import time; time.sleep(600)"


def a_reconciler(sessions, provider, kit, grace_s=0.0):
    return Reconciler(
        sessions=sessions,
        provider=provider,
        blobs=ThreadedBlobs(kit.store),
        install=kit.install,
        grace_s=grace_s,
    )


async def a_sandbox_with_its_row(sessions, provider, kit):
    async with sessions.begin() as session:
        repo = Repo(key=f"repo-{new_id()}", source="/somewhere")
        session.add(repo)
        await session.flush()
        run = Run(
            id=new_id(),
            kind=RunKind.BASE,
            cache_key=uuid.uuid4().hex,
            repo_id=repo.id,
            base_commit="0" * 40,
            deadline_s=60.0,
        )
        session.add(run)
        await session.flush()
        spec = kit.spec(SLEEP, name=str(SandboxName(kit.install, run.id, "base")))
        row = Sandbox(
            id=new_id(), run_id=run.id, stage="base", n=0, name=spec.name,
            fingerprint=spec.fingerprint(), spec={}, state=SandboxState.LAUNCHED,
        )  # fmt: skip
        session.add(row)
    return run, row, await provider.launch(spec)


async def names(provider):
    return {summary.name async for summary in provider.owned()}


async def test_what_no_row_wants_is_destroyed_after_the_grace_and_not_before(
    sessions, provider, kit
):
    spec = kit.spec(SLEEP)
    await provider.launch(spec)
    patient = a_reconciler(sessions, provider, kit, grace_s=3600.0)

    assert await patient.once() == []
    assert await patient.once() == []
    assert spec.name in await names(provider)

    assert await a_reconciler(sessions, provider, kit).once() == [spec.name]
    assert await names(provider) == set()


async def test_a_sandbox_of_a_live_run_is_left_alone_until_the_run_has_ended(
    sessions, provider, kit
):
    run, row, _ = await a_sandbox_with_its_row(sessions, provider, kit)
    reconciler = a_reconciler(sessions, provider, kit)

    assert await reconciler.once() == []

    async with sessions.begin() as session:
        await move_run(session, run.id, RunState.LOST, epoch=None)
    assert await reconciler.once() == [row.name]
    async with sessions() as session:
        assert (await session.get_one(Sandbox, row.id)).state is SandboxState.DESTROYED


async def test_the_row_of_an_ended_run_whose_sandbox_has_gone_says_so(sessions, provider, kit):
    run, row, sandbox = await a_sandbox_with_its_row(sessions, provider, kit)
    await provider.destroy(sandbox)
    async with sessions.begin() as session:
        await move_run(session, run.id, RunState.LOST, epoch=None)

    assert await a_reconciler(sessions, provider, kit).once() == []

    async with sessions() as session:
        assert (await session.get_one(Sandbox, row.id)).state is SandboxState.DESTROYED


async def test_another_installations_sandboxes_are_none_of_ours(
    sessions, provider, kit, tmp_path, docker_client, slots
):
    theirs = Kit(tmp_path / "theirs", kit.image)
    neighbour = docker_provider(
        docker_client, theirs, tmp_path / "their-home", OverlayWorkspaces(slots)
    )
    spec = theirs.spec(SLEEP)
    sandbox = await neighbour.launch(spec)

    assert await a_reconciler(sessions, provider, kit).once() == []

    assert await names(neighbour) == {spec.name}
    await neighbour.destroy(sandbox)


@pytest.mark.parametrize("content", ["", '{"name": "of an older version"}'])
async def test_a_sandbox_whose_record_cannot_be_read_is_reaped_like_any_stray(
    sessions, provider, kit, content
):
    spec = kit.spec(SLEEP)
    sandbox = await provider.launch(spec)
    place = provider._records.place(spec.name)
    (place.root / "spec.json").write_text(content)
    left = provider._records.place(str(SandboxName(kit.install, uuid.uuid4(), "static")))
    left.root.mkdir(parents=True)
    (left.root / "spec.json").write_text(content)

    destroyed = await a_reconciler(sessions, provider, kit).once()

    assert sorted(destroyed) == sorted([spec.name, left.name])
    assert await names(provider) == set()
    assert (await provider.wait(sandbox)).ended is Ended.LOST


async def test_a_sandbox_whose_records_are_damaged_is_lost_and_never_run_twice(provider, kit):
    spec = kit.spec("print(1)")
    first = await provider.launch(spec)
    await provider.wait(first)
    place = provider._records.place(spec.name)
    for name in ("spec.json", "container", "outcome.json"):
        (place.root / name).write_text("")
    provider._engine.remove(first)

    again = await provider.launch(spec)

    assert (await provider.wait(again)).ended is Ended.LOST
    await provider.destroy(again)
    assert await names(provider) == set()


async def test_a_running_sandbox_whose_spec_is_damaged_is_dead_when_wait_returns(provider, kit):
    spec = kit.spec(SLEEP)
    sandbox = await provider.launch(spec)
    (provider._records.place(spec.name).root / "spec.json").write_text("")

    assert (await provider.wait(sandbox)).ended is Ended.LOST

    assert not any(summary.running for summary in [one async for one in provider.owned()])
    await provider.destroy(sandbox)

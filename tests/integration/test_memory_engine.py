"""The in-memory engine beside its contract: killed, stopped, told to lose a sandbox."""

import asyncio
import pickle
import subprocess
import sys
import textwrap

import pytest
from engine_kit import memory_engine, plain_image
from sandbox_kit import Kit, apply_delta

from sandboxes.errors import ProviderUnavailable
from sandboxes.memory.provider import MemoryProvider
from sandboxes.memory.server import identity
from sandboxes.spec import Ended

SLEEPS = "import time; open('/out/out.txt', 'w').write('up'); time.sleep(60)"
SHORT = "import time; time.sleep(1); open('/out/out.txt', 'w').write('done')"


@pytest.fixture
def engine(tmp_path):
    with memory_engine({"python": plain_image(tmp_path / "image")}) as engine:
        yield engine


@pytest.fixture
def kit(engine, tmp_path):
    return Kit(tmp_path / "kit", identity(engine.images["python"]))


@pytest.fixture
def provider(engine, kit):
    made = client(engine, kit)
    yield made
    made.close()


def client(engine, kit, **more):
    return MemoryProvider(
        install=kit.install,
        home=engine.home,
        depot=kit.depot,
        collect=kit.collected,
        apply_delta=apply_delta,
        trees=kit.trees(engine.home),
        **more,
    )


async def until_up(engine, name):
    """Until the sandbox's command has written its output."""
    async with asyncio.timeout(30):
        up = engine.home / "s" / name / "out" / "out.txt"
        while not up.exists():  # noqa: ASYNC110 -- a file tells nobody
            await asyncio.sleep(0.02)


async def test_a_sandbox_outlives_its_engine_and_is_found_again(engine, kit, provider):
    spec = kit.spec("import time; time.sleep(1); open('x', 'w')")
    sandbox = await provider.launch(spec)

    engine.kill()
    engine.start()
    again = await provider.launch(spec)
    outcome = await provider.wait(sandbox)

    assert again == sandbox
    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 0)
    assert set(kit.changes(outcome)) == {"x"}
    assert await engine.starts() == {spec.name: 1}


async def test_an_end_that_no_engine_saw_is_told_as_it_was(engine, kit, provider):
    sandbox = await provider.launch(kit.spec(SHORT + "; raise SystemExit(7)"))
    engine.kill()
    await asyncio.sleep(2.0)

    engine.start()
    outcome = await provider.wait(sandbox)

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 7)
    assert (outcome.finished_at - outcome.started_at).total_seconds() < 1.9
    assert kit.read(outcome.outputs["out.txt"]) == b"done"


async def test_an_engine_that_loses_ends_what_ran_and_keeps_what_it_left(engine, kit, provider):
    spec = kit.spec(SLEEPS)
    sandbox = await provider.launch(spec)
    await until_up(engine, spec.name)
    engine.kill()

    engine.start(lose=True)
    outcome = await provider.wait(sandbox)

    assert outcome.ended is Ended.LOST
    assert kit.read(outcome.outputs["out.txt"]) == b"up"
    assert await provider.launch(spec) == sandbox, "what has run is never run again"
    assert await engine.starts() == {spec.name: 1}


@pytest.mark.parametrize("how", [Ended.EVICTED, Ended.LOST])
async def test_it_can_be_told_to_take_a_sandbox_away(engine, kit, provider, how):
    spec = kit.spec(SLEEPS)
    sandbox = await provider.launch(spec)
    await until_up(engine, spec.name)

    await engine.ask("end", name=spec.name, ended=how)

    assert (await provider.wait(sandbox)).ended is how


async def test_an_engine_that_hangs_or_is_gone_is_away(engine, kit):
    provider = client(engine, kit, answer_s=0.5)
    sandbox = await provider.launch(kit.spec(SHORT))

    engine.hang()
    with pytest.raises(ProviderUnavailable):
        await provider.launch(kit.spec("pass"))
    engine.go_on()
    outcome = await provider.wait(sandbox)
    engine.kill()
    with pytest.raises(ProviderUnavailable):
        await provider.wait(sandbox)
    engine.start()

    assert outcome.ended is Ended.COMPLETED
    assert await provider.wait(sandbox) == outcome


async def test_waiting_ends_with_the_engine_and_may_be_tried_again(engine, kit, provider):
    sandbox = await provider.launch(kit.spec(SHORT))
    waiting = asyncio.create_task(provider.wait(sandbox))
    await asyncio.sleep(0.3)

    engine.kill()
    with pytest.raises(ProviderUnavailable):
        await waiting
    engine.start()

    assert (await provider.wait(sandbox)).ended is Ended.COMPLETED


DIES_WHILE_IT_HYDRATES = """
    import asyncio, os, pickle, signal, sys
    sys.path[:0] = {path!r}
    from engine_kit import EngineProcess
    from sandbox_kit import apply_delta
    from sandboxes.memory.provider import MemoryProvider

    class Dies:
        def use(self, archives, owner, user):
            os.kill(os.getpid(), signal.SIGKILL)

    spec, home, install = pickle.load(sys.stdin.buffer)
    provider = MemoryProvider(
        install=install, home=home, depot=None, collect=None, apply_delta=apply_delta, trees=Dies()
    )
    asyncio.run(provider.launch(spec))
"""


async def test_a_client_killed_while_it_hydrates_lets_go_and_nothing_was_started(
    engine, kit, provider
):
    spec = kit.spec(SHORT)
    script = textwrap.dedent(DIES_WHILE_IT_HYDRATES.format(path=sys.path))
    given = pickle.dumps((spec, engine.home, kit.install))
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], input=given, check=False
    )

    left = [one.running async for one in provider.owned()]
    outcome = await provider.wait(await provider.launch(spec))

    assert (died.returncode, left) == (-9, [False])
    assert kit.read(outcome.outputs["out.txt"]) == b"done"
    assert await engine.starts() == {spec.name: 1}


async def test_two_clients_of_one_name_start_it_once(engine, kit, provider):
    other, spec = client(engine, kit), kit.spec(SHORT)

    first, second = await asyncio.gather(provider.launch(spec), other.launch(spec))

    assert first == second
    assert await engine.starts() == {spec.name: 1}


def test_a_home_has_one_engine(engine):
    command = [sys.executable, "-m", "sandboxes.memory", "--home", str(engine.home)]

    second = subprocess.run(command, capture_output=True, text=True, check=False)

    assert second.returncode == 1
    assert "another engine" in second.stderr


async def test_another_installations_sandboxes_are_neither_seen_nor_touched(engine, kit, provider):
    sandbox = await provider.launch(kit.spec(SHORT))
    kit.install = "zzzzzz"
    stranger = client(engine, kit)

    seen = [one async for one in stranger.owned()]
    await stranger.terminate(sandbox, 0.0)
    await stranger.destroy(sandbox)

    assert seen == []
    assert (await provider.wait(sandbox)).ended is Ended.COMPLETED


async def test_a_door_without_a_sandbox_is_seen_and_can_be_removed(engine, kit, provider):
    name = kit.spec("pass").name
    provider.door(name).make()

    (stray,) = [one async for one in provider.owned()]
    await provider.destroy(stray.id)

    assert (stray.name, stray.running) == (name, False)
    assert [one async for one in provider.owned()] == []


async def test_paths_have_their_names_inside(engine, kit, provider):
    text = b'{"paths": ["/workspace/a", "/vsc/x", "/usr/bin/env", "--root=/out"]}'
    patch = b"+open('/workspace/a')\n"
    code = """
        import json, os, shutil
        told = json.load(open('/vsc/x.json'))['paths']
        json.dump([told, os.getcwd()], open('/out/told', 'w'))
        seen = [os.path.isabs(one) and os.path.exists(one) for one in told]
        json.dump(seen, open('/out/seen', 'w'))
        shutil.copy('/vsc/change.patch', '/out/patch')
    """
    inputs = (kit.input("/vsc/x.json", text), kit.input("/vsc/change.patch", patch))
    spec = kit.spec(textwrap.dedent(code), inputs=inputs, outputs=("told", "seen", "patch"))

    outcome = await provider.wait(await provider.launch(spec))
    left = {name: kit.read(one) for name, one in outcome.outputs.items()}

    assert outcome.exit_code == 0
    assert left["told"] == (
        b'[["/workspace/a", "/vsc/x", "/usr/bin/env", "--root=/out"], "/workspace"]'
    )
    assert left["seen"] == b"[false, false, true, false]"
    assert left["patch"] == patch, "a patch is bytes, whatever it says"


async def test_processes_that_hide_in_sessions_of_their_own_die_with_it(engine, kit, provider):
    code = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork(): os._exit(0)\n"
        "open('/out/out.txt', 'w').write('up')\n"
        "time.sleep(60)\n"
    )
    spec = kit.spec(code, outputs=("out.txt",))
    sandbox = await provider.launch(spec)
    await until_up(engine, spec.name)

    await provider.destroy(sandbox)

    root = str(engine.home / "s" / spec.name)
    living = await asyncio.to_thread(subprocess.run, ["pgrep", "-f", root], capture_output=True)
    assert living.stdout == b""

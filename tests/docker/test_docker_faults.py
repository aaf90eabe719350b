"""What goes wrong with real sandboxes: floods and bombs from inside, removals from outside."""

import asyncio
import contextlib
import dataclasses
import json
import socketserver
import threading
from pathlib import Path

import docker
import pytest
from sandbox_fixtures import docker_provider
from sandbox_kit import Kit

from sandboxes.docker import images, mounts
from sandboxes.docker.workspaces import CopyWorkspaces, OverlayWorkspaces
from sandboxes.errors import ImageMissing, ProviderUnavailable
from sandboxes.spec import Ended, Limits

pytestmark = pytest.mark.docker
MIB = 2**20
SMALL = Limits(
    deadline_s=60,
    memory_bytes=64 * MIB,
    pids=32,
    disk_bytes=16 * MIB,
    disk_files=500,
    tmp_bytes=8 * MIB,
)
SLEEP = "import time; time.sleep(60)"


async def run(provider, spec):
    return await provider.wait(await provider.launch(spec))


async def test_s01_a_fork_bomb_stops_at_the_limit_and_the_rest_is_collected(kit, provider):
    code = """
import os, time
forked = 0
open('/workspace/before', 'w').write('x')
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        forked += 1
except BlockingIOError:
    open('/out/out.txt', 'w').write(str(forked))
"""
    outcome = await run(provider, kit.spec(code, limits=SMALL))

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 0)
    assert int(kit.read(outcome.outputs["out.txt"])) == 31
    assert "before" in kit.changes(outcome)


async def test_s01_a_bomb_that_never_stops_is_ended_by_the_backstop(kit, provider):
    limits = dataclasses.replace(SMALL, deadline_s=1, hydrate_s=0.5, grace_s=0.5, upload_s=0)
    code = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"

    outcome = await run(provider, kit.spec(code, limits=limits))

    assert outcome.ended is Ended.DEADLINE
    assert outcome.collected


async def test_s03_a_memory_bomb_is_out_of_memory(kit, provider):
    outcome = await run(
        provider,
        kit.spec("x = bytearray(10**9)\nfor i in range(0, 10**9, 4096): x[i] = 1", limits=SMALL),
    )

    assert (outcome.ended, outcome.exit_code) == (Ended.OOM, 137)
    assert outcome.usage.memory_peak_bytes is None or outcome.usage.memory_peak_bytes <= 64 * MIB


async def test_s04_a_child_killed_for_memory_is_no_clean_success(kit, provider):
    bomb = "x = bytearray(10**9)\\nfor i in range(0, 10**9, 4096): x[i] = 1"
    code = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', '{bomb}'])\n"
        "open('/out/out.txt', 'w').write('went on')"
    )

    outcome = await run(provider, kit.spec(code, limits=SMALL))

    assert (outcome.ended, outcome.exit_code) == (Ended.OOM, 0)
    assert kit.read(outcome.outputs["out.txt"]) == b"went on"


@pytest.mark.parametrize("directory", ["/workspace", "/out", "/tmp"])
async def test_s07_a_full_disk_is_an_error_inside_and_nothing_outside(kit, provider, directory):
    code = f"""
import errno, json
written = 0
try:
    with open('{directory}/flood', 'wb') as flood:
        while True:
            flood.write(b'x' * 65536); flood.flush(); written += 65536
except OSError as error:
    import os
    os.truncate('{directory}/flood', 1)
    json.dump([errno.errorcode[error.errno], written], open('/out/out.txt', 'w'))
"""
    outcome = await run(provider, kit.spec(code, limits=SMALL))
    error, written = json.loads(kit.read(outcome.outputs["out.txt"]))

    assert error == "ENOSPC"
    assert 7 * MIB < written < 17 * MIB


@pytest.mark.parametrize("directory", ["/workspace", "/out", "/tmp"])
async def test_s08_files_without_end_are_an_error_inside(kit, provider, directory):
    code = f"""
import errno, json, os
made = 0
os.mkdir('{directory}/many')
try:
    while True:
        open(f'{directory}/many/{{made}}', 'w').close(); made += 1
except OSError as error:
    for name in range(10):
        os.remove(f'{directory}/many/{{name}}')
    json.dump([errno.errorcode[error.errno], made], open('/out/out.txt', 'w'))
"""
    outcome = await run(provider, kit.spec(code, limits=SMALL))
    error, made = json.loads(kit.read(outcome.outputs["out.txt"]))

    assert error == "ENOSPC"
    assert made < 700


async def test_s10_a_flood_of_log_is_bounded(kit, provider, docker_client):
    code = (
        "import sys\nfor _ in range(20): sys.stdout.write('x' * 2**20)\n"
        "for _ in range(100000): print('y' * 80)"
    )

    sandbox = await provider.launch(kit.spec(code))
    outcome = await provider.wait(sandbox)

    assert outcome.ended is Ended.COMPLETED
    log = await asyncio.to_thread(Path(docker_client.inspect_container(sandbox)["LogPath"]).stat)
    assert log.st_size <= 1.2 * MIB


HOSTILE_TREES = {
    "deep": "for _ in range(400):\n    os.mkdir('d'); os.chdir('d')",
    "long": "for _ in range(40):\n    os.mkdir('n' * 200); os.chdir('n' * 200)",
}


@pytest.mark.parametrize("shape", HOSTILE_TREES)
async def test_a_tree_that_no_repository_may_be_is_refused_with_the_reason(kit, provider, shape):
    outcome = await run(
        provider,
        kit.spec(f"import os\n{HOSTILE_TREES[shape]}\nopen('/out/out.txt', 'w').write('x')"),
    )

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 0)
    assert outcome.uncollected.startswith("HostileTree: ")
    assert set(outcome.outputs) == {"out.txt"}


async def test_what_is_closed_to_everybody_is_collected_all_the_same(kit, provider):
    code = (
        "import os; os.mkdir('shut'); open('shut/file', 'w').write('x'); "
        "os.chmod('shut/file', 0); os.chmod('shut', 0)"
    )

    outcome = await run(provider, kit.spec(code))

    assert set(kit.changes(outcome)) == {"shut/file"}


async def test_only_what_changed_is_looked_at(kit, provider):
    await run(provider, kit.spec("open('src/app.py', 'a').write('x'); open('src/old/new', 'w')"))

    assert [changed for _, changed in kit.collected.calls] == [{b"src/app.py", b"src/old/new"}]


async def test_f24_a_container_removed_from_outside_is_lost_but_its_work_is_kept(
    kit, provider, docker_client
):
    sandbox = await provider.launch(kit.spec("open('wip', 'w').write('x')\n" + SLEEP))
    waiting = asyncio.create_task(provider.wait(sandbox))
    await asyncio.sleep(0.7)

    docker_client.remove_container(sandbox, force=True)
    outcome = await waiting

    assert (outcome.ended, outcome.exit_code) == (Ended.LOST, None)
    assert set(kit.changes(outcome)) == {"wip"}
    assert await provider.wait(sandbox) == outcome


async def test_f24_what_was_removed_from_outside_is_not_run_again(kit, provider, docker_client):
    spec = kit.spec(SLEEP)
    sandbox = await provider.launch(spec)
    docker_client.remove_container(sandbox, force=True)

    assert await provider.launch(spec) == sandbox
    assert (await provider.wait(sandbox)).ended is Ended.LOST
    assert [(one.id, one.name, one.running) async for one in provider.owned()] == [
        (sandbox, spec.name, False)
    ]


async def test_f25_a_kill_from_outside_is_told_as_what_it_may_be(kit, provider, docker_client):
    sandbox = await provider.launch(kit.spec(SLEEP))

    docker_client.kill(sandbox)
    outcome = await provider.wait(sandbox)

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 137)
    assert "outside" in outcome.detail


async def test_f25_a_paused_sandbox_meets_its_backstop(kit, provider, docker_client):
    limits = dataclasses.replace(SMALL, deadline_s=1, hydrate_s=0.5, grace_s=0.5, upload_s=0)
    sandbox = await provider.launch(kit.spec(SLEEP, limits=limits))

    docker_client.pause(sandbox)
    outcome = await provider.wait(sandbox)

    assert outcome.ended is Ended.DEADLINE


async def test_f36_another_installations_sandboxes_are_not_touched(
    kit, provider, docker_client, tmp_path, slots
):
    other = Kit(tmp_path / "other", kit.image)
    theirs = docker_provider(
        docker_client, other, tmp_path / "their-home", OverlayWorkspaces(slots)
    )
    spec = other.spec(SLEEP)
    sandbox = await theirs.launch(spec)

    await provider.destroy(sandbox)
    await provider.terminate(sandbox, 0)

    assert [one async for one in provider.owned()] == []
    assert [(one.id, one.running) async for one in theirs.owned()] == [(sandbox, True)]
    assert (await provider.wait(sandbox)).ended is Ended.LOST
    await theirs.destroy(sandbox)


async def test_what_is_left_on_the_host_without_a_container_is_owned_and_destroyed(
    kit, provider, tmp_path, slots
):
    name = kit.spec("pass").name
    place = tmp_path / "home" / "sandboxes" / name
    base = kit.trees(tmp_path / "home").use([kit.base], 10001, name)
    OverlayWorkspaces(slots).prepare(place / "disk", base, 10001, SMALL)

    strays = [one async for one in provider.owned()]
    for one in strays:
        await provider.destroy(one.id)

    assert [(one.name, one.running) for one in strays] == [(name, False)]
    assert not place.exists()
    assert mounts.mounted_below(tmp_path) == []


async def test_after_a_reboot_the_disk_is_mounted_again_and_collected(
    kit, provider, docker_client, tmp_path
):
    spec = kit.spec("open('wip', 'w').write('x'); open('/out/out.txt', 'w').write('y')")
    sandbox = await provider.launch(spec)
    docker_client.wait(sandbox)
    place = tmp_path / "home" / "sandboxes" / spec.name
    for point in mounts.mounted_below(place):
        mounts.unmount(point)

    outcome = await provider.wait(sandbox)

    assert set(kit.changes(outcome)) == {"wip"}
    assert kit.read(outcome.outputs["out.txt"]) == b"y"


async def test_a_copy_that_outgrows_its_disk_is_ended(kit, docker_client, tmp_path):
    copying = docker_provider(docker_client, kit, tmp_path / "copies", CopyWorkspaces())
    code = (
        "with open('/workspace/flood', 'wb') as f:\n"
        "    for _ in range(64): f.write(b'x' * 2**20); f.flush()\n"
    ) + SLEEP
    sandbox = await copying.launch(kit.spec(code, limits=SMALL))

    outcome = await copying.wait(sandbox)
    await copying.destroy(sandbox)

    assert outcome.ended is Ended.QUOTA
    assert "the limit is 16777216" in outcome.detail


async def test_an_engine_that_hangs_up_is_a_failure_of_the_platform(kit, tmp_path, slots):
    with socketserver.UnixStreamServer(
        str(tmp_path / "s"), socketserver.BaseRequestHandler
    ) as engine:
        threading.Thread(target=engine.serve_forever, args=(0.05,), daemon=True).start()
        client = docker.APIClient(base_url=f"unix://{tmp_path}/s", version="1.41")
        lonely = docker_provider(client, kit, tmp_path / "lonely", OverlayWorkspaces(slots))

        with pytest.raises(ProviderUnavailable, match="start it and try again"):
            await lonely.launch(kit.spec("pass"))
        with pytest.raises(ProviderUnavailable):
            [one async for one in lonely.owned()]

        client.close()
        engine.shutdown()


async def test_usage_is_measured(kit, provider):
    code = (
        "import time\nx = b'x' * 50_000_000\nwhile time.process_time() < 0.5: pass\ntime.sleep(1.5)"
    )

    usage = (await run(provider, kit.spec(code))).usage

    assert 0.5 <= usage.cpu_s < 2
    assert usage.memory_peak_bytes > 40_000_000


async def test_an_image_is_named_by_what_it_is_made_of_and_found_on_this_engine(kit, provider):
    spec = kit.spec("open('/out/out.txt', 'w').write('x')", image=images.reference("python"))

    outcome = await run(provider, spec)

    assert kit.read(outcome.outputs["out.txt"]) == b"x"


async def test_a_name_that_leads_to_another_image_is_refused(kit, provider):
    """A tag can be moved by whoever may use the engine; the image itself says what it is."""
    wrong = f"python@{'0' * 24}"
    with contextlib.closing(docker.from_env()) as client:
        client.images.get(images.identity(client, "base")).tag(*images.tag_of(wrong).split(":"))
        try:
            with pytest.raises(ImageMissing, match="another image"):
                await provider.launch(kit.spec("pass", image=wrong))
        finally:
            client.images.remove(images.tag_of(wrong))

    with pytest.raises(ImageMissing, match="make images"):
        await provider.launch(kit.spec("pass", image=wrong))
    assert [one async for one in provider.owned()] == []

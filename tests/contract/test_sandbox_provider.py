"""What every provider of sandboxes promises (`sandboxes/ports.py`).

Over memory, Docker with overlays and Docker with copies.
"""

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from sandbox_kit import archive, state_of

from sandboxes.errors import (
    BlobMissing,
    ImageMissing,
    NameTaken,
    ProviderUnavailable,
    SandboxStartFailed,
)
from sandboxes.packed import packed
from sandboxes.spec import Against, Ended, Input, Limits, Output, SandboxId, Workspace

SHORT = Limits(
    deadline_s=1,
    hydrate_s=0.5,
    grace_s=0.5,
    upload_s=0.0,
    memory_bytes=256 * 2**20,
    pids=64,
    disk_bytes=64 * 2**20,
    disk_files=5000,
)
SLEEP = "import time; time.sleep(60)"


async def run(world, spec):
    return await world.provider.wait(await world.provider.launch(spec))


def processes():
    """The command line of every process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            yield path.read_bytes().decode(errors="replace")


async def names(world):
    return {summary.name async for summary in world.provider.owned()}


async def test_a_command_runs_in_its_workspace_and_leaves_outputs(world):
    code = (
        "import pathlib; "
        "pathlib.Path('/out/out.txt').write_text(pathlib.Path('readme.md').read_text())"
    )

    outcome = await run(world, world.kit.spec(code))

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 0)
    assert world.kit.read(outcome.outputs["out.txt"]) == b"hello\n"
    assert world.kit.changes(outcome) == {}
    assert outcome.started_at <= outcome.finished_at


async def test_a_failing_command_is_a_value(world):
    outcome = await run(world, world.kit.spec("raise SystemExit(3)"))

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 3)


async def test_exit_137_is_the_commands_own(world):
    outcome = await run(world, world.kit.spec("raise SystemExit(137)"))

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 137)


async def test_launching_twice_starts_once(world):
    spec = world.kit.spec("open('/out/out.txt', 'a').write('x')")

    first, second = await asyncio.gather(world.provider.launch(spec), world.provider.launch(spec))
    outcome = await world.provider.wait(first)

    assert first == second
    assert world.kit.read(outcome.outputs["out.txt"]) == b"x"


async def test_what_has_run_is_never_run_again(world):
    spec = world.kit.spec("open('/out/out.txt', 'a').write('x')")
    sandbox = await world.provider.launch(spec)
    outcome = await world.provider.wait(sandbox)

    assert await world.provider.launch(spec) == sandbox
    assert await world.provider.wait(sandbox) == outcome


async def test_a_name_with_another_spec_is_never_adopted(world):
    spec = world.kit.spec(SLEEP)
    await world.provider.launch(spec)

    with pytest.raises(NameTaken):
        await world.provider.launch(dataclasses.replace(spec, environ={"OTHER": "1"}))


async def test_a_missing_image_is_said_and_leaves_nothing(world):
    spec = world.kit.spec("pass", image="sha256:" + "1" * 64)

    with pytest.raises(ImageMissing):
        await world.provider.launch(spec)

    assert await names(world) == set()


async def test_a_command_that_is_not_there_is_said_and_leaves_nothing(world):
    spec = dataclasses.replace(world.kit.spec("pass"), command=("/no/such/program",))

    with pytest.raises(SandboxStartFailed):
        await world.provider.launch(spec)

    assert await names(world) == set()


async def test_another_installations_name_is_refused(world):
    spec = world.kit.spec("pass", name="vsc-aaaaaa-" + "0" * 32 + "-head-0")

    with pytest.raises(SandboxStartFailed):
        await world.provider.launch(spec)


async def test_the_backstop_ends_what_ignores_its_deadline(world, stopwatch):
    code = (
        "import signal; signal.signal(15, signal.SIG_IGN); "
        "print(open('/out/out.txt', 'w').write('kept'), flush=True); "
    )

    outcome = await run(world, world.kit.spec(code + SLEEP, limits=SHORT))

    assert outcome.ended is Ended.DEADLINE
    assert "2 s" in outcome.detail
    assert world.kit.read(outcome.outputs["out.txt"]) == b"kept"
    assert stopwatch() < 15


async def test_a_command_that_ignores_term_is_killed_after_the_grace_and_collected(
    world, stopwatch
):
    code = (
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
        "open('/workspace/wip', 'w').write('half')\n"
        "open('/out/out.txt', 'w').write('up')\ntime.sleep(60)"
    )
    sandbox = await world.provider.launch(world.kit.spec(code))
    waiting = asyncio.create_task(world.provider.wait(sandbox))
    await asyncio.sleep(1.0)

    await world.provider.terminate(sandbox, grace_s=0.5)
    outcome = await waiting

    assert (outcome.ended, outcome.exit_code) == (Ended.TERMINATED, 137)
    assert "wip" in world.kit.changes(outcome)
    assert stopwatch() < 20


async def test_a_command_that_obeys_term_is_not_killed(world, stopwatch):
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(5)); time.sleep(60)"
    sandbox = await world.provider.launch(world.kit.spec(code))
    await asyncio.sleep(0.7)

    await world.provider.terminate(sandbox, grace_s=30)
    outcome = await world.provider.wait(sandbox)

    assert (outcome.ended, outcome.exit_code) == (Ended.TERMINATED, 5)
    assert stopwatch() < 20


async def test_terminating_what_has_ended_changes_nothing(world):
    sandbox = await world.provider.launch(world.kit.spec("pass"))
    outcome = await world.provider.wait(sandbox)

    await world.provider.terminate(sandbox, grace_s=1)

    assert outcome.ended is Ended.COMPLETED
    assert await world.provider.wait(sandbox) == outcome


async def test_a_daemon_in_its_own_session_does_not_outlive_the_command(world):
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while 'daemon-of-a-test':\n"
        "        open('/workspace/alive', 'w').write(str(time.time())); time.sleep(0.01)\n"
        "time.sleep(0.3)"
    )

    outcome = await run(world, world.kit.spec(code))

    assert outcome.ended is Ended.COMPLETED
    assert "alive" in world.kit.changes(outcome)
    assert [line for line in processes() if "daemon-of-a-test" in line] == []


async def test_destroying_a_sandbox_twice_is_harmless(world):
    sandbox = await world.provider.launch(world.kit.spec(SLEEP))
    await world.provider.destroy(sandbox)

    await world.provider.destroy(sandbox)

    assert sandbox not in {summary.id async for summary in world.provider.owned()}
    assert (await world.provider.wait(sandbox)).ended is Ended.LOST


async def test_destroying_what_never_was_is_harmless(world):
    await world.provider.destroy(SandboxId("f" * 64))


async def test_owned_tells_what_runs(world):
    spec, ended = world.kit.spec(SLEEP), world.kit.spec("pass")
    await world.provider.launch(spec)
    await run(world, ended)

    found = {one.name: one async for one in world.provider.owned()}

    assert set(found) == {spec.name, ended.name}
    assert (found[spec.name].running, found[spec.name].fingerprint) == (True, spec.fingerprint())
    assert not found[ended.name].running


HOSTILE_OUTPUTS = """
import os, socket
os.chdir('/out')
open('good', 'wb').write(b'x' * 1000)
open('large', 'wb').write(b'x' * 1001)
os.symlink('/etc/passwd', 'link')
os.mkfifo('fifo')
os.mkdir('directory')
socket.socket(socket.AF_UNIX).bind('socket')
with open('sparse', 'wb') as sparse:
    sparse.truncate(5 * 2**30)
open('undeclared', 'w').write('no')
open('closed', 'w').write('yes')
os.chmod('closed', 0)
"""


async def test_outputs_are_taken_whole_or_refused(world):
    wanted = ("good", "large", "link", "fifo", "directory", "socket", "sparse", "missing", "closed")
    spec = world.kit.spec(HOSTILE_OUTPUTS, outputs=wanted)

    outcome = await run(world, spec)

    assert set(outcome.outputs) == {"good", "closed"}
    assert outcome.outputs["good"].size_bytes == 1000
    assert set(outcome.refused) == {"large", "link", "fifo", "directory", "socket", "sparse"}
    assert outcome.refused["link"] == "not a plain file but a link"
    assert outcome.refused["fifo"] == "not a plain file but a fifo"
    assert "1000" in outcome.refused["large"]


async def test_an_empty_output_is_an_output(world):
    outcome = await run(
        world, world.kit.spec("open('/out/empty', 'w')", outputs=(Output("empty", 10),))
    )

    assert outcome.outputs["empty"].size_bytes == 0


EDITS = {
    "modify": ("open('readme.md', 'a').write('more')", {"readme.md"}),
    "add": ("os.makedirs('a/b'); open('a/b/new', 'w').write('n')", {"a/b/new"}),
    "delete a file": ("os.remove('src/app.py')", {"src/app.py"}),
    "delete a directory": ("shutil.rmtree('src/old')", {"src/old/one.py", "src/old/deep/two.py"}),
    "delete and make again": (
        "shutil.rmtree('src/old'); os.mkdir('src/old'); open('src/old/three', 'w')",
        {"src/old/one.py", "src/old/deep/two.py", "src/old/three"},
    ),
    "move a directory": (
        "shutil.move('src/old', 'src/older')",
        {"src/old/one.py", "src/old/deep/two.py", "src/older/one.py", "src/older/deep/two.py"},
    ),
    "mode": ("os.chmod('tool.sh', 0o755)", {"tool.sh"}),
    "link elsewhere": ("os.remove('src/link'); os.symlink('old', 'src/link')", {"src/link"}),
    "file to link": (
        "os.remove('readme.md'); os.symlink('/etc/passwd', 'readme.md')",
        {"readme.md"},
    ),
    "directory to link": (
        "shutil.rmtree('src/old'); os.symlink('/etc', 'src/old')",
        {"src/old", "src/old/one.py", "src/old/deep/two.py"},
    ),
    "directory to file": (
        "shutil.rmtree('src/old'); open('src/old', 'w')",
        {"src/old", "src/old/one.py", "src/old/deep/two.py"},
    ),
    "file to directory": (
        "os.remove('readme.md'); os.mkdir('readme.md'); open('readme.md/x', 'w')",
        {"readme.md", "readme.md/x"},
    ),
    "link to directory": (
        "os.remove('src/link'); os.mkdir('src/link'); open('src/link/x', 'w')",
        {"src/link", "src/link/x"},
    ),
    "hard link": ("os.link('readme.md', 'twin')", {"twin"}),
    "exchange": (
        "os.rename('readme.md', 'x'); os.rename('tool.sh', 'readme.md'); os.rename('x', 'tool.sh')",
        {"readme.md", "tool.sh"},
    ),
    "touch": ("os.utime('readme.md')", set()),
    "everything": (
        (
            "[shutil.rmtree(p) if os.path.isdir(p) and not os.path.islink(p) else os.remove(p) "
            "for p "
            "in os.listdir('.')]"
        ),
        {"readme.md", "src/app.py", "src/old/one.py", "src/old/deep/two.py", "src/link", "tool.sh"},
    ),
    "odd names": (
        (
            "open(b'new\\nline', 'w'); open(b'-rf', 'w'); open(b'\\xff\\xfe', 'w'); "
            "open('n' * 255, 'w')"
        ),
        {"new\nline", "-rf", b"\xff\xfe".decode(errors="surrogateescape"), "n" * 255},
    ),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_the_collector_learns_of_every_change(world, edit):
    code, expected = EDITS[edit]

    outcome = await run(world, world.kit.spec(f"import os, shutil\n{code}"))

    assert outcome.exit_code == 0
    assert set(world.kit.changes(outcome)) == expected


async def test_the_shared_base_is_never_changed(world):
    await run(world, world.kit.spec("pass"))
    base = world.kit.collected.calls[0][0].base
    before = state_of(base)

    await run(
        world,
        world.kit.spec(
            "import os, shutil; open('readme.md', 'a').write('x'); shutil.rmtree('src'); "
            "os.chmod('tool.sh', 0)"
        ),
    )

    assert state_of(base) == before


async def test_two_sandboxes_of_one_base_see_nothing_of_each_other(world):
    await run(world, world.kit.spec("open('trace', 'w'); open('/out/out.txt', 'w')"))

    outcome = await run(
        world,
        world.kit.spec(
            "import os; open('/out/out.txt', 'w').write(repr([os.listdir('/out'), "
            "os.path.exists('trace')]))"
        ),
    )

    assert world.kit.read(outcome.outputs["out.txt"]) == b"[['out.txt'], False]"


async def test_nobody_collects_what_nobody_wants(world):
    outcome = await run(
        world, world.kit.spec("open('x', 'w')", workspace=Workspace(base=world.kit.base))
    )

    assert outcome.collected == {}
    assert world.kit.collected.calls == []


async def test_a_collection_that_was_cut_off_is_made_anew(world):
    world.kit.collected.cut_off = True
    sandbox = await world.provider.launch(world.kit.spec("open('x', 'w')"))
    with pytest.raises(ProviderUnavailable):
        await world.provider.wait(sandbox)

    outcome = await world.provider.wait(sandbox)

    assert outcome.refused == {}
    assert set(world.kit.changes(outcome)) == {"x"}


async def test_a_collector_that_gives_up_does_not_hide_the_end(world):
    world.kit.collected.failure = ValueError("a hostile name")

    outcome = await run(world, world.kit.spec("open('/out/out.txt', 'w').write('x')"))

    assert outcome.ended is Ended.COMPLETED
    assert outcome.uncollected == "ValueError: a hostile name"
    assert set(outcome.outputs) == {"out.txt"}


async def test_a_delta_is_applied_before_the_start(world):
    delta = world.kit.delta({"readme.md": None, "src/extra.py": "E"})
    code = (
        "import os; open('/out/out.txt', 'w').write(repr([os.path.exists('readme.md'), "
        "open('src/extra.py').read()])); open('src/extra.py', 'a')"
    )

    for against, changed in ((Against.BASE, {"readme.md", "src/extra.py"}), (Against.START, set())):
        workspace = Workspace(base=world.kit.base, delta=delta, against=against)
        outcome = await run(world, world.kit.spec(code, workspace=workspace))

        assert world.kit.read(outcome.outputs["out.txt"]) == b"[False, 'E']"
        assert set(world.kit.changes(outcome)) == changed


async def test_bytes_that_are_no_archive_cannot_start_and_leave_nothing(world):
    cut = archive({"a": b"x" * 9000})[:-60]
    for bad in (
        world.kit.blob(b"not packed"),
        world.kit.blob(packed(b"no archive")),
        world.kit.blob(cut),
    ):
        for spec in (
            world.kit.spec("pass", workspace=Workspace(base=bad)),
            world.kit.spec("pass", environment=(bad,)),
            world.kit.spec("pass", environment=(*world.kit.environment, bad)),
        ):
            with pytest.raises(SandboxStartFailed):
                await world.provider.launch(spec)

    assert await names(world) == set()


async def test_layers_lie_over_one_another_and_must_not_overlap(world):
    more = world.kit.blob(archive({"lib/more.py": b"Y = 2\n", "lib/link": "more.py"}))
    code = (
        "open('/out/out.txt', 'w').write(open('/env/lib/mod.py').read()"
        " + open('/env/lib/link').read())"
    )

    outcome = await run(world, world.kit.spec(code, environment=(*world.kit.environment, more)))
    assert world.kit.read(outcome.outputs["out.txt"]) == b"X = 1\nY = 2\n"

    for files in ({"lib/mod.py": b"other"}, {"lib": b"a file"}, {"lib": "elsewhere"}):
        environment = (*world.kit.environment, world.kit.blob(archive(files)))
        with pytest.raises(SandboxStartFailed, match="overlap"):
            await world.provider.launch(world.kit.spec("pass", environment=environment))


async def test_a_malformed_delta_cannot_start_and_leaves_nothing(world):
    workspace = Workspace(base=world.kit.base, delta=world.kit.blob(packed(b"not json")))

    with pytest.raises(SandboxStartFailed):
        await world.provider.launch(world.kit.spec("pass", workspace=workspace))

    assert await names(world) == set()


async def test_inputs_lie_at_their_paths(world):
    inputs = (world.kit.input("/vsc/packet.json", b"{}"), world.kit.input("/vsc/deep/er/x", b"y"))
    code = (
        "open('/out/out.txt', 'w').write(open('/vsc/packet.json').read() + "
        "open('/vsc/deep/er/x').read())"
    )

    outcome = await run(world, world.kit.spec(code, inputs=inputs))

    assert world.kit.read(outcome.outputs["out.txt"]) == b"{}y"


async def test_inputs_and_environment_are_read_only(world):
    world.needs("read_only")
    code = """
refused = []
for path in ('/vsc/packet.json', '/vsc/new', '/env/lib/mod.py', '/env/new', '/run/vsc/new'):
    try:
        open(path, 'w')
    except OSError as error:
        refused.append(error.errno)
open('/out/out.txt', 'w').write(repr(refused))
"""
    inputs = (world.kit.input("/vsc/packet.json", b"{}"),)

    outcome = await run(
        world, world.kit.spec(code, inputs=inputs, environment=world.kit.environment, door=True)
    )

    assert len(json.loads(world.kit.read(outcome.outputs["out.txt"]))) == 5


async def test_an_environment_lies_at_env(world):
    code = "open('/out/out.txt', 'w').write(open('/env/lib/mod.py').read())"

    outcome = await run(world, world.kit.spec(code, environment=world.kit.environment))

    assert world.kit.read(outcome.outputs["out.txt"]) == b"X = 1\n"


@pytest.mark.parametrize("what", ["input", "base", "delta", "environment"])
async def test_missing_bytes_are_said_and_leave_nothing(world, what):
    missing = "0" * 64
    spec = {
        "input": lambda: world.kit.spec("pass", inputs=(Input("/vsc/x", missing),)),
        "base": lambda: world.kit.spec("pass", workspace=Workspace(base=missing)),
        "delta": lambda: world.kit.spec(
            "pass", workspace=Workspace(base=world.kit.base, delta=missing)
        ),
        "environment": lambda: world.kit.spec("pass", environment=(missing,)),
    }[what]()

    with pytest.raises(BlobMissing):
        await world.provider.launch(spec)

    assert await names(world) == set()


async def test_a_damaged_blob_never_reaches_a_sandbox(world):
    wanted = world.kit.input("/vsc/x", b"true")
    file = world.kit.store.path(wanted.sha256)
    file.chmod(0o644)
    file.write_bytes(b"lies")

    with pytest.raises(BlobMissing):
        await world.provider.launch(world.kit.spec("pass", inputs=(wanted,)))

    assert await names(world) == set()


async def test_a_socket_in_the_door_can_be_reached_from_inside(world, monkeypatch):
    spec = world.kit.spec(
        "import socket, time\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "import os; os.chdir('/run/vsc'); s.connect('door.sock'); s.sendall(b'knock')\n"
        "open('/out/out.txt', 'wb').write(s.recv(9))",
        door=True,
    )
    door = world.provider.door(spec.name)
    heard = []

    async def answer(reader, writer):
        heard.append(await reader.read(5))
        writer.write(b"come in")
        await writer.drain()
        writer.close()

    door.make()
    monkeypatch.chdir(door.path)  # a socket's path is short
    server = await asyncio.start_unix_server(answer, "door.sock")
    door.admit(door.http)
    async with server:
        outcome = await run(world, spec)

    assert heard == [b"knock"]
    assert world.kit.read(outcome.outputs["out.txt"]) == b"come in"


async def test_the_environment_is_the_specs_and_nothing_of_ours(world, monkeypatch):
    monkeypatch.setenv("VSC_SECRET", "of the control plane")
    code = "import json, os; json.dump(dict(os.environ), open('/out/out.txt', 'w'))"

    outcome = await run(world, world.kit.spec(code, environ={"A": "1"}))
    environ = json.loads(world.kit.read(outcome.outputs["out.txt"]))

    assert (environ["A"], environ["LANG"]) == ("1", "C.UTF-8")
    assert set(environ) <= {
        "A",
        "LANG",
        "HOME",
        "PATH",
        "HOSTNAME",
        "LC_CTYPE",
        "VSC_MEMORY_SANDBOX",
    }


async def test_a_sandbox_without_workspace_runs(world):
    outcome = await run(
        world, world.kit.spec("open('/out/out.txt', 'w').write('x')", workspace=None)
    )

    assert (outcome.exit_code, set(outcome.outputs), outcome.collected) == (0, {"out.txt"}, {})


async def test_waiting_many_times_at_once_gives_one_answer(world):
    sandbox = await world.provider.launch(
        world.kit.spec("import time; time.sleep(0.5); open('x', 'w')")
    )

    outcomes = await asyncio.gather(*(world.provider.wait(sandbox) for _ in range(4)))

    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert len(world.kit.collected.calls) == 1


async def test_another_provider_object_adopts_what_runs(world):
    world.needs("recreated")
    spec = world.kit.spec("import time; time.sleep(1); open('x', 'w')")
    sandbox = await world.provider.launch(spec)
    world.provider.close()

    again = world.again()
    assert await again.launch(spec) == sandbox
    outcome = await again.wait(sandbox)
    world.provider = world.again()

    assert outcome.ended is Ended.COMPLETED
    assert set(world.kit.changes(outcome)) == {"x"}
    assert await world.provider.wait(sandbox) == outcome


async def test_the_backstop_counts_through_a_restart(world, stopwatch):
    world.needs("recreated")
    sandbox = await world.provider.launch(
        world.kit.spec(SLEEP, limits=dataclasses.replace(SHORT, deadline_s=3))
    )
    await asyncio.sleep(2.5)

    world.provider = world.again()
    outcome = await world.provider.wait(sandbox)

    assert outcome.ended is Ended.DEADLINE
    assert 3.9 < (outcome.finished_at - outcome.started_at).total_seconds() < 5.9

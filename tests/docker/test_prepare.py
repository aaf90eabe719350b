"""`prepare` in real sandboxes: a project without dependencies and without network.

One with an index behind the door.
"""

import asyncio
import io
import json
import subprocess
import tarfile
from uuid import uuid4

import pytest
from door_kit import MemoryAudit, MemoryCapsules, MemoryChunks
from package_index import package_index
from sandbox_fixtures import docker_provider
from sandbox_kit import UID

from control_plane.gateway.access import DoorAccess
from control_plane.gateway.door import Doors
from control_plane.gateway.grants import granted
from control_plane.repos.environments.detect import detect
from control_plane.repos.environments.facts import environment
from control_plane.repos.environments.layers import take_layers
from control_plane.repos.environments.prepare import LAYERS, NOTES, preparation
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshot_archive import write_snapshot
from quality_gates.dependencies import is_dependency_file
from runners.pack import runner_pyz
from runners.protocol import CAPSULE, COMMAND, RESULT, RUNNER, Capsule
from sandboxes.docker.workspaces import OverlayWorkspaces
from sandboxes.names import SandboxName
from sandboxes.spec import Ended, Input, Limits, Output, SandboxSpec, Workspace

pytestmark = pytest.mark.docker

TEST = b"""
import importlib.metadata, tiny
def test_it():
    assert tiny.answer() == 42
    assert tiny.__file__.startswith("/workspace/src/")
    assert importlib.metadata.version("tiny") == "1.0"
    assert importlib.metadata.entry_points(group="tiny.things")["a"].load() is tiny.answer
"""
PROJECT = b"""
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[project]
name = "tiny"
version = "1.0"
[project.entry-points."tiny.things"]
a = "tiny:answer"
"""


def archive(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"tiny-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def prepare(kit, tmp_path, docker_client, slots):
    """Import the files, make their environment in a sandbox.

    The outcome, the unpacked environment, what was attempted.
    """

    async def run(files, access=None):
        mirrors = Mirrors(tmp_path / "repos")
        commit = await mirrors.import_archive("r", archive(tmp_path / "tiny.tar", files))
        packed = io.BytesIO()
        await write_snapshot(mirrors.git("r"), commit, packed)
        base = kit.blob(packed.getvalue())
        dependency_files = {
            name: content for name, content in files.items() if is_dependency_file(name)
        }
        recipe = detect(dependency_files, dependency_files, dict.fromkeys(files, "100644"))
        plan = preparation(recipe, access)
        provider = docker_provider(docker_client, kit, tmp_path / "home", OverlayWorkspaces(slots))
        run_id, sandbox_id, audit, chunks = uuid4(), uuid4(), MemoryAudit(), MemoryChunks()
        doors = Doors(chunks, MemoryCapsules(), audit)
        capsule = Capsule(
            run=str(run_id), stage="prepare", driver=plan.driver, deadline_s=240, relay=plan.relay
        )
        inputs = {
            **plan.inputs,
            RUNNER: runner_pyz(),
            CAPSULE: json.dumps(capsule.to_json()).encode(),
        }
        name = str(SandboxName(kit.install, run_id, "prepare"))
        spec = SandboxSpec(
            name=name,
            image=kit.image,
            command=COMMAND,
            limits=Limits(deadline_s=240),
            inputs=tuple(Input(path, kit.blob(content)) for path, content in inputs.items()),
            workspace=Workspace(base),
            outputs=(
                Output(RESULT, 1 << 20),
                *(Output(output, limit) for output, limit in plan.outputs.items()),
            ),
            door=True,
        )
        try:
            provider.door(name).make()
            await doors.open(
                name,
                provider.door(name),
                DoorAccess(
                    run_id,
                    sandbox_id,
                    granted("prepare", plan.allow),
                    kit.blob(inputs[CAPSULE]),
                    egress=plan.allow,
                ),
            )
            outcome = await provider.wait(await provider.launch(spec))
        finally:
            await doors.close_all()
            async for left in provider.owned():
                await provider.destroy(left.id)
            provider.close()
        log = (chunks.text(sandbox_id, "stdout") + chunks.text(sandbox_id, "stderr")).decode(
            errors="replace"
        )
        assert outcome.ended is Ended.COMPLETED, outcome
        assert outcome.exit_code == 0, f"{outcome}\n{log[-6000:]}"
        made = outcome.outputs[LAYERS]
        with kit.depot.open(made.sha256) as source:
            layers = take_layers(source, kit.depot)
        trees = kit.trees(tmp_path / "outside")
        notes = tuple(json.loads(kit.read(outcome.outputs[NOTES]))["notes"])
        facts = environment(layers, kit.image, recipe, notes)
        environment_tree = trees.use(layers.blobs, 0, "test")
        return facts, environment_tree, trees.use([base], UID, "test"), audit, log

    return run


def run_tests(image, tree, environment):
    """The project's tests with the environment where it will lie, read-only.

    Nothing else of the preparation.
    """
    return subprocess.run(
        [
            "docker",
            "run",
            "--rm",
            "--network",
            "none",
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--user",
            str(UID),
            "-v",
            f"{environment}:/env:ro",
            "-v",
            f"{tree}:/workspace:ro",
            "-w",
            "/tmp",
            image,
            "/env/bin/pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "/workspace/tests",
        ],
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_project_without_dependencies_is_prepared_without_network(prepare, kit):
    facts, tree, base, audit, log = await prepare(
        {
            "pyproject.toml": PROJECT,
            "src/tiny/__init__.py": b"def answer(): return 42\n",
            "tests/test_it.py": TEST,
        }
    )

    assert {"pytest", "coverage", "tiny"} <= facts.installed.keys()
    assert "setuptools" not in facts.installed
    assert not facts.own_pytest
    assert audit.attempts == []
    done = await asyncio.to_thread(run_tests, kit.image, base, tree)
    assert done.returncode == 0, done.stdout + done.stderr + log[-3000:]
    assert b"/out/env" not in b"".join(
        path.read_bytes()
        for path in (tree / "bin").iterdir()
        if path.is_file() and path.stat().st_size < 100_000
    )


async def test_a_build_that_fails_is_said_and_the_modules_are_found_by_path(prepare, kit):
    facts, tree, *_ = await prepare(
        {
            "setup.py": b"raise SystemExit('no')\n",
            "src/tiny/__init__.py": b"",
            "tests/test_it.py": b"import tiny\ndef test_it(): pass\n",
        }
    )

    assert "tiny" not in facts.installed
    assert any("could not be built" in note for note in facts.notes)
    assert (
        tree / "lib/python3.13/site-packages/vsc_project.pth"
    ).read_text() == "/workspace/src\n/workspace\n"


@pytest.fixture
def index(tmp_path):
    with package_index(tmp_path) as access:
        yield access


async def test_dependencies_come_through_the_door_and_nowhere_else(prepare, kit, index):
    project = PROJECT + b'[project.optional-dependencies]\ntest = ["greet", "not-there"]\n'
    files = {
        "pyproject.toml": project,
        "src/tiny/__init__.py": b"def answer(): return 42\n",
        "tests/test_it.py": TEST + b"    import greet, deep\n",
    }

    facts, tree, base, audit, log = await prepare(files, index)

    assert (facts.installed["greet"], facts.installed["deep"]) == ("1.0", "2.0")
    told = "test requirement could not be installed: not-there (No matching distribution found"
    assert any(note.startswith(told) for note in facts.notes)
    assert audit.attempts
    assert {attempt.allowed for attempt in audit.attempts} == {True}
    done = await asyncio.to_thread(run_tests, kit.image, base, tree)
    assert done.returncode == 0, done.stdout + done.stderr + log[-3000:]
    assert b"127.0.0.1" not in b"".join(
        path.read_bytes() for path in tree.rglob("*.json")
    )  # nothing keeps the index's address

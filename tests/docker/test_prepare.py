"""`prepare` in real sandboxes: a project without dependencies and without network; one with an index behind the door."""

import asyncio
import datetime as dt
import hashlib
import http.server
import io
import ipaddress
import json
import ssl
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sandbox_fixtures import docker_provider
from sandbox_kit import UID

from control_plane.gateway.door import Doors
from control_plane.gateway.memory import MemoryAudit, MemoryChunks, MemoryOutputs
from control_plane.gateway.ports import DoorAccess
from control_plane.repos.environments.archive import Environments
from control_plane.repos.environments.declared import is_dependency_file
from control_plane.repos.environments.detect import detect
from control_plane.repos.environments.facts import environment
from control_plane.repos.environments.index import PackageAccess
from control_plane.repos.environments.prepare import ARCHIVE, NOTES, preparation
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
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
    """Import the files, make their environment in a sandbox; the outcome, the unpacked environment, what was attempted."""

    async def run(files, access=None):
        mirrors = Mirrors(tmp_path / "repos")
        snapshots = Snapshots(kit.snapshots, mirrors, UID)
        commit = await mirrors.import_archive("r", archive(tmp_path / "tiny.tar", files))
        base = await snapshots.ensure("r", commit)
        dependency_files = {name: content for name, content in files.items() if is_dependency_file(name)}
        recipe = detect(dependency_files, dependency_files, dict.fromkeys(files, "100644"))
        plan = preparation(recipe, kit.image, access)
        provider = docker_provider(docker_client, kit, tmp_path / "home", OverlayWorkspaces(slots))
        run_id, sandbox_id, audit, chunks = uuid4(), uuid4(), MemoryAudit(), MemoryChunks()
        doors = Doors(chunks, MemoryOutputs(), audit)
        capsule = Capsule(run=str(run_id), stage="prepare", driver=plan.driver, deadline_s=240, relay=plan.relay)
        inputs = {**plan.inputs, RUNNER: runner_pyz(), CAPSULE: json.dumps(capsule.to_json()).encode()}
        name = str(SandboxName(kit.install, run_id, "prepare"))
        spec = SandboxSpec(
            name=name, image=kit.image, command=COMMAND, limits=Limits(deadline_s=240),
            inputs=tuple(Input(path, kit.blob(content)) for path, content in inputs.items()), workspace=Workspace(base),
            outputs=(Output(RESULT, 1 << 20), *(Output(output, limit) for output, limit in plan.outputs.items())), door=True,
        )  # fmt: skip
        try:
            await doors.open(
                name,
                provider.door(name),
                DoorAccess(run_id, sandbox_id, "prepare", inputs[CAPSULE], plan.outputs, plan.allow),
            )
            outcome = await provider.wait(await provider.launch(spec))
        finally:
            await doors.close_all()
            async for left in provider.owned():
                await provider.destroy(left.id)
            provider.close()
        log = (chunks.text(sandbox_id, "stdout") + chunks.text(sandbox_id, "stderr")).decode(errors="replace")
        assert outcome.ended is Ended.COMPLETED, outcome
        assert outcome.exit_code == 0, f"{outcome}\n{log[-6000:]}"
        made = outcome.outputs[ARCHIVE]
        environments = Environments(tmp_path / "kit" / "environments")
        await environments.install(kit.store.path(made.sha256), made.sha256)
        notes = tuple(json.loads(kit.read(outcome.outputs[NOTES]))["notes"])
        facts = environment(environments.path(made.sha256), made.sha256, kit.image, recipe, notes)
        return facts, environments.path(made.sha256), snapshots.path(base), audit, log

    return run


def run_tests(image, tree, environment):
    """The project's tests with the environment where it will lie, read-only; nothing else of the preparation."""
    return subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--user", str(UID), "-v", f"{environment}:/env:ro",
         "-v", f"{tree}:/workspace:ro", "-w", "/tmp", image, "/env/bin/pytest", "-q", "-p", "no:cacheprovider", "/workspace/tests"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


async def test_a_project_without_dependencies_is_prepared_without_network(prepare, kit):
    facts, tree, base, audit, log = await prepare(
        {"pyproject.toml": PROJECT, "src/tiny/__init__.py": b"def answer(): return 42\n", "tests/test_it.py": TEST}
    )

    assert {"pytest", "coverage", "tiny"} <= facts.installed.keys()
    assert "setuptools" not in facts.installed
    assert not facts.own_pytest
    assert audit.attempts == []
    done = await asyncio.to_thread(run_tests, kit.image, base, tree)
    assert done.returncode == 0, done.stdout + done.stderr + log[-3000:]
    assert b"/out/env" not in b"".join(
        path.read_bytes() for path in (tree / "bin").iterdir() if path.is_file() and path.stat().st_size < 100_000
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
    assert (tree / "lib/python3.13/site-packages/vsc_project.pth").read_text() == "/workspace/src\n/workspace\n"


def wheel(name, version, files, extra=()):
    """A wheel, made by hand."""
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{''.join(f'Requires-Dist: {line}{chr(10)}' for line in extra)}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as made:
        for path, text in contents.items():
            made.writestr(path, text)
        made.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"]))
    return into.getvalue()


def certificate(folder: Path) -> tuple[Path, bytes]:
    """A certificate for 127.0.0.1 that is its own authority; the file with its key, and its PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test index")])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1)
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    pem = (
        builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(pem + private)
    return path, pem


@pytest.fixture
def index(tmp_path):
    """A package index on loopback, over TLS with an authority that only it knows."""
    served = {"greet": ("greet-1.0-py3-none-any.whl", wheel("greet", "1.0", {"greet/__init__.py": "WORD = 'hello'\n"}, ["deep"])),
              "deep": ("deep-2.0-py3-none-any.whl", wheel("deep", "2.0", {"deep.py": "X = 1\n"}))}  # fmt: skip

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            parts = self.path.strip("/").split("/")
            body, kind = b"", "text/html"
            if parts[0] == "simple" and parts[-1] in served:
                file, content = served[parts[-1]]
                body = f'<a href="/files/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>'.encode()
            elif parts[0] == "files":
                body, kind = next(content for file, content in served.values() if file == parts[1]), "application/zip"
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            """Quiet."""

    keys, pem = certificate(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host = f"127.0.0.1:{server.server_address[1]}"
    yield PackageAccess(f"https://{host}/simple", (), pem, (f"{host},private",))
    server.shutdown()
    server.server_close()
    thread.join()


async def test_dependencies_come_through_the_door_and_nowhere_else(prepare, kit, index):
    project = PROJECT + b'[project.optional-dependencies]\ntest = ["greet", "not-there"]\n'
    files = {
        "pyproject.toml": project,
        "src/tiny/__init__.py": b"def answer(): return 42\n",
        "tests/test_it.py": TEST + b"    import greet, deep\n",
    }

    facts, tree, base, audit, log = await prepare(files, index)

    assert (facts.installed["greet"], facts.installed["deep"]) == ("1.0", "2.0")
    assert "test requirement could not be installed: not-there" in facts.notes
    assert audit.attempts
    assert {attempt.allowed for attempt in audit.attempts} == {True}
    done = await asyncio.to_thread(run_tests, kit.image, base, tree)
    assert done.returncode == 0, done.stdout + done.stderr + log[-3000:]
    assert b"127.0.0.1" not in b"".join(
        path.read_bytes() for path in tree.rglob("*.json")
    )  # nothing keeps the index's address

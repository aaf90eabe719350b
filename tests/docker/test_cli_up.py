"""`vsc up` as a process: who may speak to it, and the order it leaves when told to stop."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.docker
VSC = [sys.executable, "-c", "from control_plane.cli.main import main; main()"]


@pytest.fixture
def home():
    # Not pytest's own directory: root's is closed, and the database server runs as another user.
    home = Path(tempfile.mkdtemp(prefix="vsc-up-"))
    home.chmod(0o711)
    yield home
    shutil.rmtree(home)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_whoever_has_the_token_and_leaves_nothing_running(home, number):
    environ = {**os.environ, "VSC_HOME": str(home)}
    process = subprocess.Popen(
        [*VSC, "up", "--port", "0", "--json"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = ""
        while not lines.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            lines += line
        said = json.loads(lines)
        token = Path(said["token_file"])
        with httpx.Client(base_url=said["address"], trust_env=False) as client:
            assert client.get("/v1/health/live").status_code == 200
            assert client.get("/v1/tasks").status_code == 401
            ready = client.get(
                "/v1/health/ready", headers={"authorization": f"Bearer {token.read_text().strip()}"}
            )
            assert ready.json()["status"] == "ready"
        assert token.stat().st_mode & 0o777 == 0o600
        listed = subprocess.run(
            [*VSC, "task", "list", "--json"],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(listed.stdout) == {"items": [], "next": None}
        second = subprocess.run(
            [*VSC, "up", "--port", "0"], env=environ, capture_output=True, text=True, check=False
        )
        assert second.returncode == 2
        assert said["address"] in second.stderr.replace("\n", "")
        assert (home / "server-address").read_text().strip() == said["address"]
    finally:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert not (home / "server-address").exists()
    assert not list((home / "postgres").rglob("postmaster.pid"))

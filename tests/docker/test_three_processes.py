"""`vsc up --only ...`: three processes over one home do real work with the Docker engine."""

import asyncio
import json
import os
import subprocess

import pytest
from cheat_cases import git, write
from company_kit import fresh_home
from parts_kit import VSC, a_trio

from control_plane.processes.names import Part

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


async def test_three_processes_over_one_home_judge_a_change(tmp_path):
    repository = tmp_path / "toolbox"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    write(repository, "box.py", "SIZE = 1\n")
    write(repository, "test_box.py", "import box\n\n\ndef test_size():\n    assert box.SIZE > 0\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "base")
    write(repository, "box.py", "SIZE = 2\n")
    with fresh_home("vsc-parts-") as home, a_trio(home, os.environ) as trio:
        for part in Part:
            trio.start(part)
        ready = [await trio.health(part, "ready") for part in Part]
        checked = await asyncio.to_thread(
            subprocess.run,
            [*VSC, "check", "--repo", str(repository), "--type", "REFACTOR", "--json"],
            env=trio.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        ended = [await trio.end(part) for part in reversed(Part)]

        assert [code for code, _ in ready] == [200, 200, 200], ready
        assert "through the control plane at" in checked.stderr
        report = json.loads(checked.stdout)
        assert report["verdict"] == "passed", report
        assert ended == [0, 0, 0]

"""The examples for a CI, run as their CI runs them: by a shell, with the variables that it sets."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cheat_cases import git
from fleet_kit import toy_repository

from control_plane.cli.errors import ServerError
from control_plane.cli.judging import Order, judge
from control_plane.cli.timeline import Timeline

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "ci"
BROKEN = "return a - b"


@pytest.fixture
def change(tmp_path):
    """A repository, its base and a head that breaks a test."""
    repo = toy_repository(tmp_path / "toy")
    base = git(repo, "rev-parse", "HEAD").strip()
    module = repo / "toy" / "__init__.py"
    module.write_text(module.read_text().replace("return a + b", BROKEN))
    git(repo, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qam", "head")
    return repo, base, git(repo, "rev-parse", "HEAD").strip()


async def run_step(fleet, repo, script, variables):
    """The step of a job, beside a `vsc up`."""
    program = Path(sys.executable).parent
    process = fleet.start(serves=True)
    await fleet.at_work(process)
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", script],
        cwd=repo,
        env={**os.environ, "VSC_HOME": str(fleet.home), "PATH": f"{program}:{os.environ['PATH']}"}
        | variables,
        capture_output=True,
        text=True,
    )
    await fleet.end(process)
    return done


async def test_the_action_for_github_annotates_what_a_change_breaks(fleet, change):
    repo, base, head = change
    action = yaml.safe_load((EXAMPLES / "github" / "action.yml").read_text())
    (step,) = action["runs"]["steps"]
    assert set(step["env"]) == {"BASE", "HEAD", "OPTIONS"}

    given = {"BASE": base, "HEAD": head, "OPTIONS": "--type REFACTOR --allow-test-changes"}
    done = await run_step(fleet, repo, step["run"], given)

    assert done.returncode == 1, done.stderr
    assert all(line.startswith("::") for line in done.stdout.splitlines()), done.stdout
    assert "test_add" in done.stdout
    assert "next:" in done.stderr


async def test_the_job_for_gitlab_leaves_its_report(fleet, change):
    repo, base, head = change
    job = yaml.safe_load((EXAMPLES / "gitlab" / "vsc.gitlab-ci.yml").read_text())["vsc-check"]
    (script,) = job["script"]

    given = {
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_COMMIT_SHA": head,
        "VSC_OPTIONS": "--type REFACTOR",
    }
    done = await run_step(fleet, repo, script, given)

    assert done.returncode == 1, done.stderr
    report = job["artifacts"]["reports"]["codequality"]
    entries = json.loads((repo / report).read_text())
    assert any("test_add" in entry["description"] for entry in entries)


async def test_who_follows_a_task_is_told_what_becomes_of_it_when_its_server_dies(fleet, change):
    repo, base, _ = change
    process = fleet.start(serves=True)
    argv = ("/bin/sh", "-c", "sleep 600")
    order = Order(repository=repo, base_commit=base.decode(), argv=argv)
    submitted = asyncio.Event()

    def tell(line: str) -> None:
        if line.startswith("task "):
            submitted.set()

    async with fleet.client(process) as client:
        following = asyncio.create_task(judge(client, order, Timeline(), tell))
        async with asyncio.timeout(60):
            await submitted.wait()
        fleet.killed(process)
        with pytest.raises(ServerError, match="the next control plane goes on with task TASK-"):
            await following

"""`kill -9` of the control plane at every step of a sandbox's life.

The next one converges, and the command runs once.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from sandboxes.docker.mounts import mounted_below
from sandboxes.spec import Ended, SandboxId

pytestmark = pytest.mark.docker
DRIVER = Path(__file__).with_name("crash_driver.py")
ROOT = Path(__file__).parents[2]
CODE = (
    "import time; open('/out/out.txt', 'a').write('x'); open('/workspace/wip', 'a').write('y'); "
    "time.sleep(0.3)"
)

RECORDS, DISK = "sandboxes.docker.records:Place", "sandboxes.docker.disk:Disks"
ENGINE, WORKSPACES = (
    "sandboxes.docker.engine:Engine",
    "sandboxes.docker.workspaces:OverlayWorkspaces",
)
LAUNCH = [
    f"before {RECORDS}.write_spec",
    f"after {RECORDS}.write_spec",
    "after runners.unpack:_Tree.finish",
    "after sandboxes.tree_cache:TreeCache.use",
    "after sandboxes.docker.slots:Slots.take",
    f"after {WORKSPACES}.prepare",
    f"before {RECORDS}.mark_prepared",
    f"after {RECORDS}.mark_prepared",
    f"after {ENGINE}.create",
    f"after {RECORDS}.write_container",
    f"after {ENGINE}.start",
]
WAIT = [
    f"before {ENGINE}.wait",
    f"after {ENGINE}.wait",
    "after sandboxes.docker.disk:take_outputs",
    "after sandboxes.docker.disk:collect_tree",
    f"before {RECORDS}.write_outcome",
    f"after {RECORDS}.write_outcome",
]
DESTROY = [
    f"before {ENGINE}.remove",
    f"after {ENGINE}.remove",
    f"before {WORKSPACES}.release",
    "after sandboxes.docker.mounts:unmount",
    f"after {WORKSPACES}.release",
    "before sandboxes.tree_cache:TreeCache.give_up",
    "after sandboxes.tree_cache:TreeCache.give_up",
    f"after {DISK}.release",
]


async def killed(kit, tmp_path, step, where):
    """The spec of a sandbox whose control plane was killed at `where`."""
    spec = kit.spec(CODE)
    told = {
        "kit": str(kit.root),
        "image": kit.image,
        "install": kit.install,
        "home": str(tmp_path / "home"),
    }
    told |= {
        "slots": str(tmp_path / "slots"),
        "name": spec.name,
        "code": CODE,
        "step": step,
        "where": where,
    }
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'kit'}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, DRIVER, json.dumps(told), env=environ
    )
    assert await process.wait() == -signal.SIGKILL
    return spec


@pytest.mark.parametrize("where", LAUNCH)
async def test_killed_in_launch(kit, provider, tmp_path, where):
    spec = await killed(kit, tmp_path, "launch", where)

    outcome = await provider.wait(await provider.launch(spec))

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 0)
    assert kit.read(outcome.outputs["out.txt"]) == b"x"
    assert set(kit.changes(outcome)) == {"wip"}


@pytest.mark.parametrize("where", WAIT)
async def test_killed_in_wait(kit, provider, tmp_path, where):
    spec = await killed(kit, tmp_path, "wait", where)

    outcome = await provider.wait(await provider.launch(spec))

    assert (outcome.ended, outcome.exit_code) == (Ended.COMPLETED, 0)
    assert kit.read(outcome.outputs["out.txt"]) == b"x"
    assert set(kit.changes(outcome)) == {"wip"}


@pytest.mark.parametrize("where", LAUNCH + DESTROY)
async def test_what_a_killed_control_plane_left_can_be_destroyed(kit, provider, tmp_path, where):
    await killed(kit, tmp_path, "launch" if where in LAUNCH else "destroy", where)

    for one in [one async for one in provider.owned()]:
        await provider.destroy(SandboxId(one.id))

    assert [one async for one in provider.owned()] == []
    assert mounted_below(tmp_path / "home") == []
    cache = tmp_path / "home" / "trees"
    kit.trees(tmp_path / "home").trim()
    assert [path.name for path in cache.glob("*/users/*")] == []
    assert list(cache.glob(".new-*")) == []
    assert [
        path
        for path in (tmp_path / "home").rglob("*")
        if path.name not in {"sandboxes", "locks", "trees"}
        and path.parent.name != "locks"
        and cache not in path.parents
    ] == []

"""A control plane that is killed at one call: `crash_driver.py <json>`.

Started by `test_docker_crashes.py`.
"""

import asyncio
import importlib
import json
import os
import signal
import sys
from pathlib import Path

import docker
from sandbox_fixtures import docker_provider
from sandbox_kit import Kit

from sandboxes.docker.slots import Slots
from sandboxes.docker.workspaces import OverlayWorkspaces
from sandboxes.spec import SandboxId


def die_at(where: str) -> None:
    """Kill this process at a call, named `before module:Class.method` or `after ...`."""
    when, _, call = where.partition(" ")
    module, _, dotted = call.partition(":")
    owner = importlib.import_module(module)
    *path, name = dotted.split(".")
    for part in path:
        owner = getattr(owner, part)
    kept = getattr(owner, name)

    def killed(*arguments, **named):
        if when == "after":
            kept(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killed)


async def main(told: dict) -> None:
    kit = Kit(Path(told["kit"]), told["image"], install=told["install"])
    slots = Slots(Path(told["slots"]), ahead=0)
    provider = docker_provider(
        docker.APIClient(), kit, Path(told["home"]), OverlayWorkspaces(slots)
    )
    spec = kit.spec(told["code"], name=told["name"])
    if told["step"] == "launch":
        die_at(told["where"])
        await provider.launch(spec)
    sandbox = SandboxId(await provider.launch(spec))
    if told["step"] == "wait":
        die_at(told["where"])
        await provider.wait(sandbox)
    await provider.wait(sandbox)
    die_at(told["where"])
    await provider.destroy(sandbox)


asyncio.run(main(json.loads(sys.argv[1])))

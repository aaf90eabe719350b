"""P3: one sandbox through our provider, against the engine's bare API."""

import asyncio
import uuid

from benchmarks.paired import Entry, Stopwatch, paired, ratio
from benchmarks.raw_engine import RawEngine
from benchmarks.trees import LIMITS, UID, Trees
from runners.hydrate import apply_delta
from runners.unpack import unpack
from sandboxes.docker import images, local
from sandboxes.docker.render import container_config
from sandboxes.names import SandboxName
from sandboxes.spec import Against, Ended, SandboxSpec, Workspace

COMMAND = ("/opt/vsc/bin/python", "-I", "-c", "print(1)")
_INSTALL = "bench0"


async def measure(trees: Trees, rounds: int) -> list[Entry]:
    """Launch, wait (which takes the outputs and the patch) and destroy.

    The floor has the same posture and no workspace.
    """
    image = await asyncio.to_thread(images.identity, local.connect(), "python")
    provider = await asyncio.to_thread(
        lambda: local.provider(
            install=_INSTALL,
            home=trees.home / "docker",
            depot=trees.depot,
            collect=trees.collector(),
            apply_delta=apply_delta,
            unpack=unpack,
            cache_bytes=2**32,
            uid=UID,
        )
    )
    raw = RawEngine()

    def spec(workspace: Workspace | None = None) -> SandboxSpec:
        name = str(SandboxName(_INSTALL, uuid.uuid4(), "execute"))
        return SandboxSpec(
            name=name, image=image, command=COMMAND, limits=LIMITS, workspace=workspace
        )

    async def ours(workspace: Workspace | None) -> float:
        asked = spec(workspace)
        with Stopwatch() as watch:
            sandbox = await provider.launch(asked)
            outcome = await provider.wait(sandbox)
            await provider.destroy(sandbox)
        if outcome.ended is not Ended.COMPLETED or outcome.exit_code != 0:
            raise RuntimeError(f"the sandbox ended as {outcome}")
        return watch.seconds

    def bare() -> float:
        asked = spec()
        config = container_config(
            asked, install="nobody", owner=UID, binds={}, writable=frozenset()
        )
        with Stopwatch() as watch:
            raw.lifecycle(asked.name, config)
        return watch.seconds

    key = trees.held["small"].key
    try:
        times = await paired(
            "lifecycle",
            {
                "bare": lambda: asyncio.to_thread(bare),
                "workspace": lambda: ours(Workspace(key)),
                "workspace and patch": lambda: ours(Workspace(key, against=Against.BASE)),
            },
            rounds,
        )
    finally:
        raw.close()
        await asyncio.to_thread(provider.close)
    floor = times["bare"]
    how = (
        "launch, wait, destroy through DockerProvider {}: {}, against create, start, wait, logs,"
        " remove by the bare Engine API with the same posture: {}; n={}"
    )
    return [
        Entry(
            "P3-provider",
            ratio(times["workspace"], floor),
            1.05,
            how.format("with a workspace", times["workspace"], floor, rounds),
        ),
        Entry(
            "P3-patch",
            ratio(times["workspace and patch"], floor),
            1.05,
            how.format(
                "with a workspace and its patch", times["workspace and patch"], floor, rounds
            ),
        ),
    ]

"""Every provider that the contract runs over, each as new for every test."""

import contextlib
from dataclasses import dataclass

import pytest
from engine_kit import memory_engine, plain_image
from sandbox_fixtures import docker_client, docker_provider, python_image, slots, stopwatch  # noqa: F401 - fixtures
from sandbox_kit import Kit, apply_delta

from sandboxes.docker.mounts import mounted_below
from sandboxes.docker.provider import DockerProvider
from sandboxes.docker.workspaces import CopyWorkspaces, OverlayWorkspaces
from sandboxes.memory.provider import MemoryProvider
from sandboxes.memory.server import identity
from sandboxes.ports import SandboxProvider

MEMORY, OVERLAY, COPY = "memory", "docker-overlay", "docker-copy"
DEVIATIONS = {
    (MEMORY, "read_only"): "it has no mounts; a process of root writes wherever it likes",
}


@dataclass
class World:
    """One provider with what the tests need to know about it."""

    kind: str
    kit: Kit
    provider: SandboxProvider
    again: object
    """Makes another provider object over the same state, as a restarted control plane does."""

    def needs(self, what: str) -> None:
        if reason := DEVIATIONS.get((self.kind, what)):
            pytest.skip(f"deviation of {self.kind}: {reason}")


@pytest.fixture(
    params=[
        MEMORY,
        pytest.param(OVERLAY, marks=pytest.mark.docker),
        pytest.param(COPY, marks=pytest.mark.docker),
    ]
)
async def world(request, tmp_path):
    with contextlib.ExitStack() as engines:
        made = (
            memory_world(engines, tmp_path)
            if request.param == MEMORY
            else docker_world(request, tmp_path)
        )
        yield made
        async for summary in made.provider.owned():
            await made.provider.destroy(summary.id)
        assert [summary async for summary in made.provider.owned()] == []
        assert mounted_below(tmp_path) == []


def memory_world(engines, tmp_path):
    image = plain_image(tmp_path / "image")
    engine = engines.enter_context(memory_engine({"python": image}))
    kit = Kit(tmp_path / "kit", identity(image))

    def provider() -> MemoryProvider:
        return MemoryProvider(
            install=kit.install,
            home=engine.home,
            depot=kit.depot,
            collect=kit.collected,
            apply_delta=apply_delta,
            trees=kit.trees(engine.home),
        )

    return World(MEMORY, kit, provider(), again=provider)


def docker_world(request, tmp_path):
    kit = Kit(tmp_path / "kit", request.getfixturevalue("python_image"))
    client = request.getfixturevalue("docker_client")
    overlay = request.param == OVERLAY
    workspaces = (
        OverlayWorkspaces(request.getfixturevalue("slots")) if overlay else CopyWorkspaces()
    )

    def provider() -> DockerProvider:
        return docker_provider(client, kit, tmp_path / "home", workspaces)

    return World(request.param, kit, provider(), again=provider)

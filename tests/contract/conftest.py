"""Every provider that the contract runs over, each as new for every test."""

import sys
from dataclasses import dataclass

import pytest
from sandbox_fixtures import docker_client, docker_provider, python_image, slots, stopwatch  # noqa: F401 - fixtures
from sandbox_kit import Kit, apply_delta

from sandboxes.docker.mounts import mounted_below
from sandboxes.docker.provider import DockerProvider
from sandboxes.docker.workspaces import CopyWorkspaces, OverlayWorkspaces
from sandboxes.memory import MemoryProvider
from sandboxes.ports import SandboxProvider

MEMORY, OVERLAY, COPY = "memory", "docker-overlay", "docker-copy"
DEVIATIONS = {
    (MEMORY, "recreated"): "its sandboxes end with the process, so no other object can adopt them",
    (MEMORY, "forgotten"): "there is no engine behind it that could forget a sandbox",
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
    made = memory_world(tmp_path) if request.param == MEMORY else docker_world(request, tmp_path)
    yield made
    async for summary in made.provider.owned():
        await made.provider.destroy(summary.id)
    assert [summary async for summary in made.provider.owned()] == []
    assert mounted_below(tmp_path) == []


def memory_world(tmp_path):
    image = "sha256:" + "0" * 64
    kit = Kit(tmp_path / "kit", image, python=sys.executable)
    provider = MemoryProvider(
        install=kit.install,
        images={image},
        depot=kit.depot,
        collect=kit.collected,
        apply_delta=apply_delta,
        home=tmp_path / "m",
    )
    return World(MEMORY, kit, provider, again=None)


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

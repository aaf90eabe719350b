"""What tests on the real engine start from."""

import pytest
from sandbox_fixtures import docker_client, docker_provider, python_image, slots, stopwatch  # noqa: F401 - fixtures
from sandbox_kit import Kit

from sandboxes.docker.mounts import mounted_below
from sandboxes.docker.workspaces import OverlayWorkspaces


@pytest.fixture
def kit(tmp_path, python_image):  # noqa: F811 - the fixture of that name
    return Kit(tmp_path / "kit", python_image)


@pytest.fixture
async def provider(kit, tmp_path, docker_client, slots):  # noqa: F811 - the fixtures of those names
    made = docker_provider(docker_client, kit, tmp_path / "home", OverlayWorkspaces(slots))
    yield made
    async for summary in made.owned():
        await made.destroy(summary.id)
    assert mounted_below(tmp_path) == []
    assert docker_client.containers(all=True, filters={"label": f"vsc.install={kit.install}"}) == []

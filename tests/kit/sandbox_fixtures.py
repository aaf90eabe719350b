"""Fixtures of tests that run real sandboxes; a folder's conftest imports those it wants."""

import contextlib
import time

import docker
import pytest
from sandbox_kit import UID, Kit, apply_delta

from sandboxes.docker import images
from sandboxes.docker.provider import DockerProvider
from sandboxes.docker.slots import Slots
from sandboxes.docker.workspaces import Workspaces


def docker_provider(client, kit: Kit, home, workspaces: Workspaces) -> DockerProvider:
    """A provider as the composition root makes one."""
    return DockerProvider(
        client,
        install=kit.install,
        home=home,
        depot=kit.depot,
        collect=kit.collected,
        apply_delta=apply_delta,
        trees=kit.trees(home),
        uid=UID,
        workspaces=workspaces,
    )


@pytest.fixture(scope="session")
def docker_client():
    client = docker.APIClient(max_pool_size=32)
    yield client
    client.close()


@pytest.fixture(scope="session")
def python_image():
    with contextlib.closing(docker.from_env()) as client:
        return images.identity(client, "python")


@pytest.fixture(scope="session")
def slots(tmp_path_factory):
    """One pool for all tests of this worker."""
    pool = Slots(tmp_path_factory.mktemp("slots"), ahead=2)
    yield pool
    pool.close()


@pytest.fixture
def stopwatch():
    """Seconds since the test began."""
    began = time.monotonic()
    return lambda: time.monotonic() - began

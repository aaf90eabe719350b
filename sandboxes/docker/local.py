"""The engine of this machine, put together, so that the docker SDK stays in this folder."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from sandboxes.docker import images
from sandboxes.docker.provider import DockerProvider
from sandboxes.docker.workspaces import best_workspaces, lacking
from sandboxes.errors import ProviderUnavailable
from sandboxes.ports import ApplyDelta, Collect, Depot, Unpack
from sandboxes.tree_cache import TreeCache

ENGINE_TIMEOUT_S = 60
POOL_CONNECTIONS = 32


def provider(
    *,
    install: str,
    home: Path,
    depot: Depot,
    collect: Collect,
    apply_delta: ApplyDelta,
    unpack: Unpack,
    cache_bytes: int,
    uid: int,
    slots_ahead: int = 4,
) -> DockerProvider:
    """A provider over the engine that the environment names (`DOCKER_HOST`), or the local socket.

    Raises:
        ProviderUnavailable: no engine answers.
    """
    return DockerProvider(
        connect().api,
        install=install,
        home=home,
        depot=depot,
        collect=collect,
        apply_delta=apply_delta,
        trees=TreeCache(home / "trees", depot, unpack, cache_bytes),
        uid=uid,
        workspaces=best_workspaces(home, slots_ahead),
    )


def image(name: str) -> str:
    """What specs call a runner image as its inputs are now (`python@...`), once it is there.

    Raises ImageMissing (`make images`), ProviderUnavailable.
    """
    images.identity(connect(), name)
    return images.reference(name)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the engine says of itself."""

    version: str
    cgroup: str
    storage: str
    cpus: int
    os: str
    seccomp: bool


def facts() -> Facts:
    """Ask the engine. Raises ProviderUnavailable."""
    client = connect()
    try:
        info = client.info()
    except docker.errors.DockerException as error:
        raise ProviderUnavailable(
            f"the Docker engine answers and then fails ({error}); look at its log"
        ) from error
    finally:
        client.close()
    return Facts(
        version=info["ServerVersion"],
        cgroup=str(info.get("CgroupVersion", "?")),
        storage=info["Driver"],
        cpus=info["NCPU"],
        os=info["OSType"],
        seccomp=any(
            option.startswith("name=seccomp") for option in info.get("SecurityOptions") or ()
        ),
    )


def engine_id() -> str:
    """What the engine calls itself; it keeps it over restarts. Raises ProviderUnavailable."""
    with contextlib.closing(connect()) as client:
        try:
            return str(client.info()["ID"])
        except docker.errors.DockerException as error:
            raise ProviderUnavailable(f"the Docker engine does not say its id ({error})") from error


@dataclass(frozen=True, slots=True)
class Disks:
    """What holds a sandbox's disk limit on this host, in a sentence.

    And what to do for an exact limit (nothing: it is).
    """

    held_by: str
    lacking: tuple[str, ...]


def disks(home: Path) -> Disks:
    """What a provider over `home` would use. Makes nothing."""
    return Disks(best_workspaces(home).describe(), tuple(lacking()))


def connect() -> docker.DockerClient:
    """The SDK's client. Raises ProviderUnavailable with what to do."""
    try:
        return docker.from_env(
            timeout=ENGINE_TIMEOUT_S, max_pool_size=POOL_CONNECTIONS, version="auto"
        )
    except docker.errors.DockerException as error:
        raise ProviderUnavailable(
            f"the Docker engine does not answer ({error}); "
            "start it (`scripts/setup` does on Debian), then try again"
        ) from error

"""How a runner image is made, without a registry and without BuildKit.

Its text is part of every image's tag.

The root comes from a pulled image or from Debian's packages; every other image is a container of
its parent, without network, in which `build.sh` ran. Packages are fetched on this side, by the
machine's own apt and pip with their own settings, so that no proxy, certificate or index of this
machine has a way into an image.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import docker
import docker.errors
import requests.exceptions
from docker.models.containers import Container
from docker.types import Mount

INPUTS = "/mnt"
"""Where a build sees its inputs.

Debian has this folder already, so the mount leaves no trace in the image.
"""
CONFIG: Mapping[str, Any] = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
    "User": "10001:10001",
    "WorkingDir": "/workspace",
    "Cmd": ["/usr/bin/python3"],
}
PULL_STALL_S = 20

Say = Callable[[str], None]


class BuildFailed(Exception):
    """An image could not be made; the message says what the user can do."""


def settings(folder: Path) -> Mapping[str, Any]:
    """What `image.toml` says."""
    return tomllib.loads((folder / "image.toml").read_text())


def make(client: docker.DockerClient, folder: Path, parent: str | None, log: Path, say: Say) -> str:
    """Build the image of `folder` and return its identity.

    It has no tag yet; what is interrupted leaves no image.
    """
    if parent is not None:
        return _child(client, folder, parent, log, say)
    if _pull(client, settings(folder)["pull"], say):
        return _root_from_image(client, folder, log, say)
    return _root_from_packages(client, folder, log, say)


def _child(client: docker.DockerClient, folder: Path, parent: str, log: Path, say: Say) -> str:
    wanted = settings(folder)
    with tempfile.TemporaryDirectory(prefix="vsc-image-") as scratch:
        inputs = Path(scratch)
        inputs.chmod(0o755)
        shutil.copytree(folder, inputs, dirs_exist_ok=True)
        for lock in wanted["locks"]:
            say(f"{folder.name}: fetching the packages of {lock}")
            _run(_download(folder / lock, wanted["python"], inputs / Path(lock).stem), log)
        with _container(client, folder.name, parent, inputs, network="none") as container:
            say(f"{folder.name}: installing")
            _inside(container, ["sh", f"{INPUTS}/build.sh"], {}, log)
            say(f"{folder.name}: committing")
            container.stop(timeout=0)
            return str(container.commit(conf={**CONFIG, "Labels": {"vsc.image": folder.name}}).id)


def _root_from_image(client: docker.DockerClient, folder: Path, log: Path, say: Say) -> str:
    wanted = settings(folder)
    install = (
        "apt-get update && apt-get install -y --no-install-recommends "
        f"{' '.join(wanted['packages'])}"
    )
    proxies = {
        name: value
        for name, value in os.environ.items()
        if name.lower() in {"http_proxy", "https_proxy", "no_proxy"}
    }
    with _container(client, folder.name, wanted["pull"], folder, network="host") as container:
        say(f"{folder.name}: installing Debian's packages into {wanted['pull']}")
        _inside(
            container, ["sh", "-c", install], {"DEBIAN_FRONTEND": "noninteractive", **proxies}, log
        )
        _inside(
            container, ["sh", "-c", f"touch /.vsc-image-root && sh {INPUTS}/finish.sh"], {}, log
        )
        say(f"{folder.name}: importing")
        return _import(
            client, folder.name, cast("Iterator[bytes]", container.export())
        )  # the stubs say str


def _root_from_packages(client: docker.DockerClient, folder: Path, log: Path, say: Say) -> str:
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise BuildFailed(
            "no registry answers, so the base image is made with debootstrap: "
            "install it and run this as root"
        )
    wanted = settings(folder)
    with tempfile.TemporaryDirectory(prefix="vsc-root-") as scratch:
        root = Path(scratch) / "root"
        say(
            f"{folder.name}: no registry answers; "
            f"making {wanted['suite']} from Debian's packages (about a minute)"
        )
        include = f"--include={','.join(wanted['packages'])}"
        _run(
            ["debootstrap", "--variant=minbase", include, wanted["suite"], str(root), *_mirror()],
            log,
        )
        say(f"{folder.name}: finishing")
        (root / ".vsc-image-root").touch()
        _run(["chroot", str(root), "/bin/sh", "-s"], log, text=(folder / "finish.sh").read_text())
        say(f"{folder.name}: importing")
        # The engine makes /dev, /proc and /sys; --one-file-system, as nothing of this machine may
        # slip in through a mount.
        archive = [
            "tar",
            "--create",
            "--one-file-system",
            "--numeric-owner",
            f"--directory={root}",
            "--exclude=./dev/*",
            ".",
        ]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as tar:
            made = _import(
                client,
                folder.name,
                iter(lambda: tar.stdout.read(2**20) if tar.stdout else b"", b""),
            )
        if tar.returncode:
            client.images.remove(made)
            raise BuildFailed(
                f"tar ended with {tar.returncode}: is the disk full? Make room, then try `make "
                "images` again"
            )
        return made


def _pull(client: docker.DockerClient, image: str, say: Say) -> bool:
    """Whether the engine has `image`, asking its registry for as long as that answers."""
    with closing(docker.from_env(timeout=PULL_STALL_S)) as impatient:
        try:
            impatient.images.pull(image)
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            pass  # no registry on this machine is usual; what the engine has already decides
        else:
            say(f"pulled {image}")
    return bool(client.images.list(name=image))


def _mirror() -> list[str]:
    """The mirror that this machine's own apt uses for Debian; none known: debootstrap's default."""
    ask = [
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]
    if shutil.which("apt-get") is None:
        return []
    answer = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    return [
        line.rpartition("|")[2] for line in answer.splitlines() if line.startswith("Debian|Debian|")
    ][:1]


def _download(lock: Path, python: str, into: Path) -> list[str]:
    """A command that fetches a lock's wheels for the image's interpreter, by their hashes."""
    machine = platform.machine()
    platforms = [
        f"--platform=manylinux_2_{minor}_{machine}" for minor in range(41, 4, -1)
    ]  # trixie has glibc 2.41
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    return [
        *pip,
        f"--python-version={python}",
        "--implementation=cp",
        *platforms,
        f"--requirement={lock}",
        f"--dest={into}",
    ]


@contextmanager
def _container(
    client: docker.DockerClient, name: str, image: str, inputs: Path, *, network: str
) -> Iterator[Container]:
    """A container to build in.

    What it is told comes by exec, which no image remembers; its own settings are empty.
    """
    name = f"vsc-build-{name}"
    _forget(client, name)
    container = client.containers.create(
        image,
        ["sleep", "infinity"],
        name=name,
        user="0",
        network_mode=network,
        mounts=[
            Mount(INPUTS, str(inputs), type="bind", read_only=True)
        ],  # `volumes` would become one of the image's
        use_config_proxy=False,
    )
    try:
        container.start()
        yield container
    finally:
        _forget(client, name)


def _forget(client: docker.DockerClient, name: str) -> None:
    with suppress(docker.errors.NotFound):
        client.containers.get(name).remove(force=True, v=True)


def _inside(
    container: Container, command: Sequence[str], environ: Mapping[str, str], log: Path
) -> None:
    ended = container.exec_run(list(command), environment=dict(environ), user="0", workdir="/")
    with log.open("ab") as file:
        file.write(ended.output if isinstance(ended.output, bytes) else b"".join(ended.output))
    if ended.exit_code:
        raise BuildFailed(_failure(command, ended.exit_code, log))


def _run(command: Sequence[str], log: Path, text: str | None = None) -> None:
    with log.open("ab") as file:
        ended = subprocess.run(
            command,
            input=None if text is None else text.encode(),
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        raise BuildFailed(_failure(command, ended.returncode, log))


def _failure(command: Sequence[str], code: int, log: Path) -> str:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    return f"{tail}\n`{command[0]}` ended with {code}; all of its output is in {log}"


def _import(client: docker.DockerClient, name: str, archive: Iterable[bytes]) -> str:
    """The identity of an image with one layer, the tar stream `archive`."""
    changes = [f"ENV {setting}" for setting in CONFIG["Env"]]
    changes += [
        f"USER {CONFIG['User']}",
        f"WORKDIR {CONFIG['WorkingDir']}",
        f'CMD ["{CONFIG["Cmd"][0]}"]',
        f"LABEL vsc.image={name}",
    ]
    answer = client.api.import_image_from_stream(archive, changes=changes)
    return str(answer).rpartition('"status":"')[2].partition('"')[0]

"""Runner images on this machine's engine: which there are, their names, which must be built.

An image's tag is the hash of what goes into it, so that two checkouts with the same inputs share an
image, and a changed input never runs under an old name. A spec names an image by `reference`, which
is the same on every engine; the provider finds out which image that is here.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import docker.errors
import requests.exceptions
from filelock import FileLock, Timeout

from sandboxes.docker import image_recipe
from sandboxes.docker.image_recipe import BuildFailed, Say
from sandboxes.errors import ImageMissing

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "runner_images"


def names(folder: Path = FOLDER) -> list[str]:
    """Every image that `folder` describes, parents first."""
    found = sorted(path.parent.name for path in folder.glob("*/image.toml"))
    return sorted(found, key=lambda name: len(_line(name, folder)))


def tag(name: str, folder: Path = FOLDER) -> str:
    """The engine's name of it: `vsc/<name>:<hash of its files, its parent's tag, the recipe>`."""
    parent = _parent(name, folder)
    digest = hashlib.sha256((tag(parent, folder) if parent else "").encode())
    digest.update(Path(image_recipe.__file__).read_bytes())
    for path in _files(folder / name):
        executable = path.stat().st_mode & 0o100
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\n{path.relative_to(folder)}\0{executable}\0{content}".encode())
    return f"vsc/{name}:{digest.hexdigest()[:24]}"


def reference(name: str, folder: Path = FOLDER) -> str:
    """What a spec calls the image: its name and the hash of its inputs, on every engine alike."""
    return tag(name, folder).removeprefix("vsc/").replace(":", "@")


def tag_of(image: str) -> str:
    """The tag under which an engine has the image that `reference` names."""
    return f"vsc/{image.replace('@', ':')}"


def identity(client: docker.DockerClient, name: str, folder: Path = FOLDER) -> str:
    """The engine's digest (`sha256:...`) of the image as its inputs are now.

    Raises ImageMissing until it is built.
    """
    wanted = tag(name, folder)
    try:
        return str(client.images.get(wanted).id)
    except docker.errors.ImageNotFound as missing:
        raise ImageMissing(wanted, "it is not built; run `make images`") from missing


def build(
    client: docker.DockerClient, wanted: Sequence[str], say: Say, logs: Path, folder: Path = FOLDER
) -> dict[str, str]:
    """Build the images named, parents first, and say which digest each tag has.

    What exists is left alone.

    Raises:
        BuildFailed: an image could not be made; the message says what to do.
    """
    logs.mkdir(parents=True, exist_ok=True)
    built: dict[str, str] = {}
    with _one_build(say):
        for name in dict.fromkeys(one for image in wanted for one in _line(image, folder)):
            try:
                built[name] = identity(client, name, folder)
            except ImageMissing:
                parent = built.get(_parent(name, folder) or "")
                log = logs / f"image-{name}.log"
                log.write_bytes(b"")
                built[name] = image_recipe.make(client, folder / name, parent, log, say)
                client.images.get(built[name]).tag(*tag(name, folder).split(":"))
    return built


def _parent(name: str, folder: Path) -> str | None:
    return image_recipe.settings(folder / name).get("parent")


def _line(name: str, folder: Path) -> list[str]:
    """The image and what it stands on, the root first."""
    parent = _parent(name, folder)
    return [*(_line(parent, folder) if parent else []), name]


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


@contextmanager
def _one_build(say: Say) -> Iterator[None]:
    """Hold this user's one build lock. The kernel lets go of it when the holder dies."""
    lock = FileLock(Path(tempfile.gettempdir()) / f"vsc-images-{os.getuid()}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another build is running; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _stopwatch() -> Callable[[str], None]:
    started = time.monotonic()
    return lambda step: print(f"[{time.monotonic() - started:5.1f} s] {step}", flush=True)


def main() -> int:
    """Build what is missing and list the images. Exit code 1: something could not be built."""
    parser = argparse.ArgumentParser(
        prog="python -m sandboxes.docker.images", description=main.__doc__
    )
    parser.add_argument("verb", choices=["build", "list"])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="default: every folder of runner_images/"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing where nothing is to be done"
    )
    given = parser.parse_args()
    wanted = given.names or names()
    if unknown := set(wanted) - set(names()):
        parser.error(f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    try:
        with closing(docker.from_env(timeout=600)) as client:
            if given.verb == "build":
                build(client, wanted, say=_stopwatch(), logs=ROOT / "build" / "log")
            _list(client, wanted, quiet=given.quiet)
    except (BuildFailed, ImageMissing) as failure:
        print(failure, file=sys.stderr)
        return 1
    except (docker.errors.DockerException, requests.exceptions.RequestException) as failure:
        print(
            (
                f"the Docker engine does not answer, or refuses: {failure}\n"
                "Start it (`scripts/setup`)."
            ),
            file=sys.stderr,
        )
        return 1
    return 0


def _list(client: docker.DockerClient, wanted: Sequence[str], *, quiet: bool) -> None:
    for name in wanted:
        found = client.images.get(identity(client, name))
        if not quiet:
            print(f"{tag(name)}  {found.id}  {found.attrs['Size'] / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())

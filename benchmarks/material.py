"""What is measured on: made repositories of any number of files, two releases of a library."""

import random
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

ROOT = Path(__file__).resolve().parents[1]
ARCHIVES = ROOT / "build" / "archives"

SMALL_FILES, LARGE_FILES = 166, 5000
_HISTORY = 200
_FILES_A_COMMIT = 10
_WORDS = (
    "self",
    "return",
    "value",
    "def",
    "class",
    "import",
    "for",
    "in",
    "if",
    "not",
    "None",
    "path",
    "state",
    "=",
)


@dataclass(frozen=True, slots=True)
class Release:
    """A repository whose HEAD is a library's older release, and the patch to the next one."""

    repository: Path
    patch: bytes


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that PostgreSQL's user can pass through, removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="vsc-bench-"))
    home.chmod(0o711)
    try:
        yield home
    finally:
        remove_containers_below(home)
        unmount_below(home)
        shutil.rmtree(home)


def remove_containers_below(home: Path) -> None:
    """Take away the sandboxes that mount something there.

    An interrupted `vsc check` leaves those that look at its base to the next control plane.
    """
    try:
        engine = docker.from_env().api
        containers = engine.containers(all=True)
    except DockerException:
        return  # no engine, no containers
    for container in containers:
        sources = (Path(mount.get("Source", "/")) for mount in container["Mounts"])
        if any(home in source.parents for source in sources):
            engine.remove_container(container["Id"], force=True)


def unmount_below(home: Path) -> None:
    """Take away what a program that was killed has left mounted there."""
    fields = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    points = [Path(re.sub(r"\\([0-7]{3})", _character, field[4])) for field in fields]
    for point in sorted((one for one in points if home in one.parents), reverse=True):
        subprocess.run(["umount", "--lazy", "--", point], check=True)


def _character(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


def made_repository(path: Path, files: int) -> Path:
    """A bare repository of `files` files of about 4 KB of text, 20 a directory, in 200 commits."""
    git(path.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(path))
    stream = b"".join(_history(files, random.Random(files)))  # noqa: S311 -- the same repository every time
    subprocess.run(["git", "-C", path, "fast-import", "--quiet"], input=stream, check=True)
    return path


def _history(files: int, dice: random.Random) -> Iterator[bytes]:
    yield _commit(1)
    yield from (_file(number, dice) for number in range(files))
    for commit in range(2, _HISTORY + 1):
        yield _commit(commit)
        yield from (_file(dice.randrange(files), dice) for _ in range(_FILES_A_COMMIT))


def _commit(number: int) -> bytes:
    committer = f"committer B <b@example.org> {1_600_000_000 + number} +0000"
    return f"commit refs/heads/main\n{committer}\ndata 1\nc\n".encode()


def _file(number: int, dice: random.Random) -> bytes:
    lines = (" ".join(dice.choices(_WORDS, k=8)) for _ in range(100))
    text = "\n".join(lines).encode() + b"\n"
    return b"M 100644 inline %s\ndata %d\n%s\n" % (file_name(number).encode(), len(text), text)


def file_name(number: int) -> str:
    """The path of a made repository's file."""
    return f"src/part{number // 400}/package{number // 20}/module{number}.py"


def release(home: Path, name: str, old: str, new: str) -> Release:
    """Two archives that `scripts/fetch-archives` has fetched, as one repository and a patch."""
    repository = Path(
        tempfile.mkdtemp(dir=home, prefix=f"{name}-")
    )  # two parts may ask for the same
    git(repository, "init", "--quiet", "--initial-branch=main")
    commits = [_committed(repository, f"{name}-{version}") for version in (old, new)]
    patch = git(repository, "diff", "--binary", "--full-index", "--no-renames", *commits)
    git(repository, "checkout", "--quiet", "--detach", commits[0])
    git(repository, "branch", "--quiet", "--force", "main", commits[0])
    git(repository, "checkout", "--quiet", "main")
    return Release(repository, patch)


def _committed(repository: Path, stem: str) -> str:
    for entry in repository.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(ARCHIVES / f"{stem}.tar.gz") as archive:
            archive.extractall(unpacked, filter="data")
        for entry in (Path(unpacked) / stem).iterdir():
            shutil.move(entry, repository)
    git(repository, "add", "--all", "--force")
    git(repository, "commit", "--quiet", "--message", stem)
    return git(repository, "rev-parse", "HEAD").decode().strip()


def git(directory: Path, *arguments: str) -> bytes:
    """Run git, with nothing of this machine's own configuration."""
    identity = (
        "-c",
        "user.name=bench",
        "-c",
        "user.email=bench@example.org",
        "-c",
        "commit.gpgsign=false",
    )
    return subprocess.run(
        ["git", *identity, *arguments], cwd=directory, check=True, stdout=subprocess.PIPE
    ).stdout

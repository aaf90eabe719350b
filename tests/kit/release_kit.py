"""Two real releases of a library as a git repository: between them lies an honest change."""

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from control_plane.repos.archives import Entry, read_archive

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "tests" / "fixtures" / "releases.json"
ARCHIVES = ROOT / "build" / "archives"

Files = dict[str, bytes]
# Of git, so that nothing of whoever runs it is read.
ENVIRON = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{
        f"GIT_{who}_{what}": "tests@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
    # The same release is the same commit in every test, so that what is known of a base is found
    # again.
    **{f"GIT_{who}_DATE": "2024-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
}


@dataclass(frozen=True, slots=True)
class Release:
    """A library, two of its releases, and their archives."""

    name: str
    old: Path
    new: Path


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository whose one commit is the old release, and the patch that leads to the new."""

    path: Path
    base: str
    head: str
    patch: bytes


def release(name: str, old: str, new: str) -> Release:
    """The pair that `tests/fixtures/releases.json` pins, fetched if it is not here yet."""
    for stated in json.loads(MANIFEST.read_text()):
        if (stated["name"], stated["old"]["version"], stated["new"]["version"]) == (name, old, new):
            if not all(_is_here(stated[side]) for side in ("old", "new")):
                _fetch(name)
            return Release(name, ARCHIVES / stated["old"]["file"], ARCHIVES / stated["new"]["file"])
    raise LookupError(f"{name} {old} -> {new} is not in {MANIFEST.name}")


def repository(
    folder: Path, pair: Release, edit: Callable[[Files, Files], Files | None] | None = None
) -> Repository:
    """Both releases, committed one after the other.

    `edit(old, new)` may alter the files of the new one.
    """
    old, new = files(pair.old), files(pair.new)
    if edit is not None:
        new = edit(old, new) or new
    folder.mkdir()
    _git(folder, "init", "--quiet", "--initial-branch=main")
    base, head = _commit(folder, {}, old), _commit(folder, old, new)
    return Repository(
        folder, base, head, _git(folder, "diff", "--binary", "--full-index", base, head)
    )


def files(archive: Path) -> Files:
    """The files of a release, by path, as the platform's own import reads them.

    None of ours has links.
    """
    return {os.fsdecode(entry.path): _plain(entry) for entry in read_archive(archive)}


def _plain(entry: Entry) -> bytes:
    assert entry.mode in {"100644", "100755"}, entry.path
    return entry.content


def _commit(folder: Path, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str:
    for path in before.keys() - after.keys():
        (folder / path).unlink()
    for path, content in after.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    _git(folder, "add", "--all", "--force")
    _git(folder, "commit", "--quiet", "--message", "A release")
    return _git(folder, "rev-parse", "HEAD").decode().strip()


def _git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(
        ["git", "-C", folder, *arguments], env=ENVIRON, check=True, capture_output=True
    ).stdout


def _is_here(stated: Mapping[str, str]) -> bool:
    archive = ARCHIVES / stated["file"]
    return (
        archive.is_file() and hashlib.sha256(archive.read_bytes()).hexdigest() == stated["sha256"]
    )


@functools.cache
def _fetch(name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "fetch-archives", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"the released archives of {name} are neither in {ARCHIVES.relative_to(ROOT)} "
            f"nor to be had: {done.stderr.strip()}. "
            f"Give this machine's pip an index that has them, and try scripts/fetch-archives {name}"
        )

"""The pairs of `tests/fixtures/field.json` as repositories that an author would hand in.

A release is committed as it is in its archive, under its own `.gitignore`; what leads to the next
one is the change. A regression is the new release with the product's code as it was.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from choose import is_product
from release_kit import ENVIRON

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "tests" / "fixtures" / "field.json"
ARCHIVES = ROOT / "build" / "archives"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a link: git's mode, and the content (of a link: the target)."""

    mode: str
    content: bytes


Tree = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two releases of a project; the archives are in `ARCHIVES` when they were fetched."""

    name: str
    old: str
    new: str
    old_file: str
    new_file: str


@dataclass(frozen=True, slots=True)
class Change:
    """A repository with two commits."""

    repo: Path
    base: str
    head: str


def pairs() -> list[Pair]:
    """All of them, in the order of the rule."""
    return [
        Pair(one["name"], *(one[side][key] for key in ("version", "file") for side in _SIDES))
        for one in json.loads(MANIFEST.read_text())
    ]


_SIDES = ("old", "new")


def fetch(*names: str) -> None:
    """Have the archives of those projects here. Raises RuntimeError, with what to do."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/fetch-archives", "--of", MANIFEST, *names],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def honest(folder: Path, pair: Pair) -> Change:
    """What its authors released."""
    return _change(folder, pair, lambda _, new: new)


def regression(folder: Path, pair: Pair) -> Change:
    """The new release without what it does: only its tests, its pages and its settings."""
    return _change(folder, pair, without_the_product)


def without_the_product(old: Tree, new: Tree) -> Tree:
    """The new tree with the product's code of the old one."""
    others = {path: entry for path, entry in new.items() if not is_product(path)}
    return others | {path: entry for path, entry in old.items() if is_product(path)}


def _change(folder: Path, pair: Pair, head: Callable[[Tree, Tree], Tree]) -> Change:
    old, new = (_tree(ARCHIVES / file) for file in (pair.old_file, pair.new_file))
    folder.mkdir(parents=True)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    base = _commit(folder, {}, old, f"Release {pair.old}")
    return Change(folder, base, _commit(folder, old, head(old, new), f"Release {pair.new}"))


def _tree(archive: Path) -> Tree:
    """What its authors have in their repository: without what the making of an archive adds."""
    found = {}
    with tarfile.open(archive) as members:
        for one in members:
            path = PurePosixPath(*PurePosixPath(one.name).parts[1:])
            if not (one.isfile() or one.issym()) or _is_made(path):
                continue
            if one.issym():
                found[str(path)] = Entry("120000", one.linkname.encode())
            else:
                content = members.extractfile(one).read()  # type: ignore[union-attr] -- a file
                found[str(path)] = Entry("100755" if one.mode & 0o100 else "100644", content)
    return found


def _is_made(path: PurePosixPath) -> bool:
    return (
        str(path) == "PKG-INFO"
        or ".git" in path.parts
        or any(part.endswith(".egg-info") for part in path.parts)
    )


def _commit(folder: Path, before: Tree, after: Tree, message: str) -> str:
    for path in before:
        (folder / path).unlink()
    for path, entry in after.items():
        at = folder / path
        at.parent.mkdir(parents=True, exist_ok=True)
        if entry.mode == "120000":
            at.symlink_to(os.fsdecode(entry.content))
        else:
            at.write_bytes(entry.content)
            at.chmod(int(entry.mode[-3:], 8))
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", message)
    return _git(folder, "rev-parse", "HEAD").strip()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", folder, *arguments]
    return subprocess.run(command, env=ENVIRON, check=True, capture_output=True, text=True).stdout

"""A provider's own cache of unpacked trees, by the archives they are made of.

A tree is built aside and renamed. Whoever uses one leaves a mark with its name, so that no process
takes a tree away under a living sandbox, whoever made it and whoever was restarted meanwhile:

    <key>/tree      what sandboxes see
    <key>/bytes     about what it takes on disk; written last
    <key>/users/    one empty file for each sandbox that uses it
    <key>/layers    the keys of the trees that it shares files with (an environment)

The directory's own time is its last use. Past the limit, what nobody uses goes, the longest unused
first.
"""

import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import BaseFileLock, FileLock, Timeout

from sandboxes.packed import unpacked
from sandboxes.ports import Depot, Unpack
from sandboxes.spec import Workspace

MAX_TREE_BYTES = 16 * 2**30
ROOT = 0
"""Who owns an environment: nobody that a sandbox runs as."""
_NEW, _GONE = ".new-", ".gone-"
_BLOCK_BYTES = 4096


@contextmanager
def delta_of(workspace: Workspace, depot: Depot) -> Iterator[BinaryIO | None]:
    """The workspace's delta, if it has one.

    Raises BlobMissing, and ValueError while it is read.
    """
    if workspace.delta is None:
        yield None
        return
    with depot.open(workspace.delta) as source, unpacked(source, MAX_TREE_BYTES) as plain:
        yield plain


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree of the cache."""

    root: Path

    @property
    def path(self) -> Path:
        """What a sandbox sees of it."""
        return self.root / "tree"

    @property
    def bytes(self) -> int:
        """About what it takes on disk, without what it shares."""
        return int((self.root / "bytes").read_text())

    @property
    def layers(self) -> frozenset[str]:
        """The keys of the trees that it shares files with."""
        with suppress(FileNotFoundError):
            return frozenset(json.loads((self.root / "layers").read_text()))
        return frozenset()

    @property
    def used(self) -> bool:
        """Whether a sandbox has its mark there."""
        return any((self.root / "users").iterdir())


class TreeCache:
    """Trees under `root`, shared by any number of threads and processes. Blocking."""

    def __init__(self, root: Path, depot: Depot, unpack: Unpack, max_bytes: int) -> None:
        self._root, self._depot, self._unpack, self._max = root, depot, unpack, max_bytes
        root.mkdir(parents=True, exist_ok=True, mode=0o711)

    def use(self, archives: Sequence[str], owner: int, user: str) -> Path:
        """The tree of these archives, one over another, for as long as `user` has not given it up.

        All of it belongs to user and group `owner`. Asking again is harmless.

        Raises:
            BlobMissing: the depot lacks an archive.
            ValueError: an archive is malformed, or they overlap.
        """
        tree = self._tree(_key(archives, owner))
        if not self._marked(tree, user):
            with self._maker(tree.root.name):
                if not self._marked(tree, user):
                    self._make(tree, archives, owner, user)
            self.trim()
        return tree.path

    def give_up(self, user: str) -> None:
        """`user` uses no tree any more; twice is harmless."""
        for tree in self._trees():
            (tree.root / "users" / user).unlink(missing_ok=True)

    def trim(self) -> None:
        """Take away what nobody uses, the longest unused first, until the limit is kept.

        What dead processes left half made or half removed goes too.
        """
        with self._lock():
            gone = list(self._root.glob(f"{_GONE}*"))
            trees = {tree.root.name: tree for tree in self._trees()}
            excess = sum(tree.bytes for tree in trees.values()) - self._max
            while excess > 0 and (oldest := _oldest_unused(trees)) is not None:
                excess -= trees.pop(oldest.root.name).bytes
                gone.append(self._root / f"{_GONE}{uuid.uuid4().hex}")
                oldest.root.rename(gone[-1])
        for left in gone:
            _remove(left)
        for draft in self._root.glob(f"{_NEW}*"):
            lock = self._maker(draft.name.removeprefix(_NEW).partition("-")[0])
            with suppress(Timeout), lock.acquire(timeout=0):  # else somebody alive makes it
                _remove(draft)

    def held_bytes(self) -> int:
        """About what all trees take on disk."""
        return sum(tree.bytes for tree in self._trees())

    def _marked(self, tree: Tree, user: str) -> bool:
        """Leave the user's mark; False: there is no such tree."""
        with self._lock():
            try:
                (tree.root / "users" / user).touch()
            except FileNotFoundError:
                return False
            os.utime(tree.root)
            return True

    def _make(self, tree: Tree, archives: Sequence[str], owner: int, user: str) -> None:
        for stale in self._root.glob(f"{_NEW}{tree.root.name}-*"):
            _remove(stale)  # of a process that died; we hold the lock
        new = Tree(self._root / f"{_NEW}{tree.root.name}-{uuid.uuid4().hex}")
        (new.root / "users").mkdir(parents=True)
        (new.root / "users" / user).touch()
        new.path.mkdir()
        new.root.chmod(0o711)
        try:
            if len(archives) == 1:
                size = self._unpacked(archives[0], new.path, owner)
            else:
                size = self._composed(new, archives, owner, user)
            (new.root / "bytes").write_text(str(size))
            new.root.rename(tree.root)
        except BaseException:
            _remove(new.root)
            raise

    def _unpacked(self, archive: str, into: Path, owner: int) -> int:
        with (
            self._depot.open(archive) as source,
            unpacked(source, MAX_TREE_BYTES) as plain,
        ):
            return self._unpack(plain, into, owner)

    def _composed(self, new: Tree, archives: Sequence[str], owner: int, user: str) -> int:
        """One tree of links to the files of a tree for each layer, so that layers share disk."""
        size = 0
        layers = [self.use([archive], owner, user) for archive in archives]
        try:
            for layer in layers:
                size += _link_into(layer, new.path, owner)
        except FileExistsError as error:
            raise ValueError(f"layers overlap: {error.filename2 or error.filename}") from error
        (new.root / "layers").write_text(json.dumps([layer.parent.name for layer in layers]))
        return size

    def _tree(self, key: str) -> Tree:
        return Tree(self._root / key)

    def _trees(self) -> list[Tree]:
        return [
            Tree(root)
            for root in self._root.iterdir()
            if not root.name.startswith((_NEW, _GONE, ".lock")) and root.is_dir()
        ]

    def _maker(self, key: str) -> BaseFileLock:
        """The lock of whoever makes that tree."""
        return FileLock(self._root / f".lock-{key}", mode=0o600)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with FileLock(self._root / ".lock", mode=0o600, poll_interval=0.002):
            yield


def _key(archives: Sequence[str], owner: int) -> str:
    return hashlib.sha256(json.dumps([list(archives), owner]).encode()).hexdigest()


def _oldest_unused(trees: Mapping[str, Tree]) -> Tree | None:
    """What goes first; never a layer of a tree that stays."""
    needed = frozenset[str]().union(*(tree.layers for tree in trees.values()))
    free = [tree for name, tree in trees.items() if name not in needed and not tree.used]
    return min(free, key=lambda tree: tree.root.stat().st_mtime_ns, default=None)


def _link_into(layer: Path, tree: Path, owner: int) -> int:
    """Link everything of `layer` into `tree`; the bytes that its new directories take.

    Raises FileExistsError where both have something that is not a directory.
    """
    size = 0
    for folder, folders, names in os.walk(layer):
        place = tree / Path(folder).relative_to(layer)
        # Strings, not Path: there are thousands of them.
        links = [name for name in folders if os.path.islink(f"{folder}/{name}")]  # noqa: PTH114 -- see above
        for name in (*names, *links):
            os.link(f"{folder}/{name}", f"{place}/{name}", follow_symlinks=False)
        for name in folders:
            if name not in links:
                size += _directory(place / name, owner)
    return size


def _directory(path: Path, owner: int) -> int:
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise
        return 0
    path.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(path, owner, owner)
    return _BLOCK_BYTES


def _remove(root: Path) -> None:
    # rm copes with any depth, where a recursion of ours would end.
    subprocess.run(["rm", "-rf", "--", str(root)], capture_output=True, check=False)

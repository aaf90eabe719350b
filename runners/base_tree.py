"""A tree object read directory by directory, as far as somebody asks.

And the tree that a change makes of it.

What it costs depends on what changed, not on how large the repository is.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from runners.archive import Entry
from runners.changes import ChangedEntry
from runners.git_objects import LooseObjects
from runners.git_private import GitFailed, PrivateGit

_TREE, _GITLINK = "40000", "160000"
HEAD_REF = "refs/heads/main"
"""The one branch of a snapshot, below its `.git`."""

Listing = dict[bytes, tuple[str, str]]
"""Name -> git's mode and the object's id."""


class ObjectReader:
    """One `git cat-file` for all objects that are asked for."""

    def __init__(self, git: PrivateGit) -> None:
        self._process = git.open("cat-file", "--batch")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.__exit__(kind, error, trace)

    def read(self, name: str) -> bytes:
        """The bytes of one object. Raises GitFailed if the repository does not hold it."""
        ask, answer = self._process.stdin, self._process.stdout
        if ask is None or answer is None:
            raise GitFailed("git cat-file has no pipes")
        ask.write(name.encode() + b"\n")
        ask.flush()
        head = answer.readline().split()
        if len(head) != 3:
            raise GitFailed(f"the repository does not hold object {name}")
        data = answer.read(int(head[2]) + 1)
        return data[:-1]


class BaseTree:
    """The tree that another is compared with."""

    def __init__(self, reader: ObjectReader, root: str) -> None:
        self.root = root
        self._reader = reader
        self._listings: dict[bytes, Listing | None] = {b"": _parse(reader.read(root))}

    def listing(self, directory: bytes) -> Listing | None:
        """What a directory holds; None: the base has no such directory."""
        if directory not in self._listings:
            parent, _, name = directory.rpartition(b"/")
            mode, tree = (self.listing(parent) or {}).get(name, ("", ""))
            self._listings[directory] = _parse(self._reader.read(tree)) if mode == _TREE else None
        return self._listings[directory]

    def file(self, path: bytes) -> tuple[str, str] | None:
        """Mode and blob of a file or link; None: the base has none there."""
        entry = self._entry(path)
        return None if entry is None or entry[0] in (_TREE, _GITLINK) else entry

    def in_submodule(self, path: bytes) -> bool:
        """Whether a submodule lies at the path or above it."""
        while path:
            if (self._entry(path) or ("",))[0] == _GITLINK:
                return True
            path = path.rpartition(b"/")[0]
        return False

    def files_below(self, directory: bytes) -> Iterator[bytes]:
        """The paths of all files and links below a directory."""
        for name, (mode, _) in (self.listing(directory) or {}).items():
            path = directory + b"/" + name if directory else name
            if mode == _TREE:
                yield from self.files_below(path)
            elif mode != _GITLINK:
                yield path

    def contents(self, path: bytes) -> bytes:
        """The bytes of a file. Raises GitFailed if the base has none there."""
        entry = self.file(path)
        if entry is None:
            raise GitFailed(f"the base has no file {path!r}")
        return self._reader.read(entry[1])

    def _entry(self, path: bytes) -> tuple[str, str] | None:
        directory, _, name = path.rpartition(b"/")
        return (self.listing(directory) or {}).get(name)


def tree_of_head(reader: ObjectReader, git_dir: Path) -> str:
    """The tree of a snapshot's only commit. Raises GitFailed if it is no snapshot."""
    try:
        commit = (git_dir / HEAD_REF).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise GitFailed(f"{git_dir} is not the git directory of a snapshot: {error}") from error
    first, _, _ = reader.read(commit).partition(b"\n")
    return first.removeprefix(b"tree ").decode("ascii")


def with_delta(base: BaseTree, delta: Iterable[Entry], objects: LooseObjects) -> str:
    """The tree object that a delta makes of `base`."""
    entries = []
    for entry in delta:
        blob = None if entry.mode is None else objects.store_bytes(entry.contents)
        known = base.file(entry.path) or (None, None)
        entries.append(ChangedEntry(entry.path, known[0], entry.mode, known[1], blob))
    return NewTree(base, entries).store(objects)


class NewTree:
    """The base with a change on it: only the directories that the change touches are made anew."""

    def __init__(self, base: BaseTree, entries: Iterable[ChangedEntry]) -> None:
        self._base = base
        self.touched: dict[bytes, Listing] = {}
        entries = list(entries)
        for entry in (
            entries
        ):  # what goes first: a directory may take a file's place, and the other way round
            if entry.head_mode is None:
                directory, _, name = entry.path.rpartition(b"/")
                self._touch(directory).pop(name, None)
        for entry in entries:
            if entry.head_mode is not None and entry.head_blob is not None:
                directory, _, name = entry.path.rpartition(b"/")
                self._touch(directory)[name] = (entry.head_mode, entry.head_blob)
        self._link_new_directories()

    def store(self, objects: LooseObjects) -> str:
        """Write the tree objects that are new; the id of the root."""
        for directory in sorted(self.touched, key=_depth, reverse=True):
            if directory:
                parent, _, name = directory.rpartition(b"/")
                if self.touched[parent].get(name, (_TREE,))[0] == _TREE and self.touched[directory]:
                    self.touched[parent][name] = (
                        _TREE,
                        objects.store_tree(_render(self.touched[directory])),
                    )
        return objects.store_tree(_render(self.touched[b""])) if self.touched else self._base.root

    def _touch(self, directory: bytes) -> Listing:
        if directory not in self.touched:
            self.touched[directory] = dict(self._base.listing(directory) or {})
            if directory:
                self._touch(directory.rpartition(b"/")[0])
        return self.touched[directory]

    def _link_new_directories(self) -> None:
        """Let every directory stand in its parent's listing exactly if it holds something."""
        for directory in sorted(self.touched, key=_depth, reverse=True):
            if directory:
                parent, _, name = directory.rpartition(b"/")
                if self.touched[directory]:
                    self.touched[parent][name] = (_TREE, "")
                elif self.touched[parent].get(name, ("",))[0] == _TREE:
                    del self.touched[parent][name]


def _depth(directory: bytes) -> tuple[int, bytes]:
    return (directory.count(b"/") + 1 if directory else 0, directory)


def _parse(data: bytes) -> Listing:
    found: Listing = {}
    at = 0
    while at < len(data):
        space, end = data.index(b" ", at), data.index(b"\0", at)
        found[data[space + 1 : end]] = (data[at:space].decode(), data[end + 1 : end + 21].hex())
        at = end + 21
    return found


def _render(listing: Listing) -> bytes:
    ordered = sorted(
        listing.items(), key=lambda item: item[0] + b"/" if item[1][0] == _TREE else item[0]
    )
    return b"".join(
        b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(blob)) for name, (mode, blob) in ordered
    )

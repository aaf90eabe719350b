"""The trusted patch: a dead agent's tree compared with a base of ours, byte by byte.

The tree is hostile and git never sees it: we read the files, write the blobs, and let git, in a
directory of our own, join them into a tree and print the difference. Nothing that lies in the tree
(`.git`, attributes, ignore files, links) decides.
"""

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from runners.base_ignores import ignored_by_base
from runners.base_tree import BaseTree, NewTree, ObjectReader, tree_of_head, with_delta
from runners.changes import CHANGES, PATCH, ChangedEntry, Changes, RefusedEntry
from runners.git_objects import LooseObjects, Shrunk, blob_id, blob_id_of
from runners.git_private import GitLimit, PrivateGit
from runners.hostile_tree import Entry, HostileTree, TreeLimit, Unreadable
from runners.hydrate import read_delta
from runners.tree_rules import (
    PatchLimits,
    is_dot_git,
    is_litter,
    is_litter_directory,
    refused_link,
    refused_name,
    twins,
)

_DIFF = (
    *(
        "diff-tree",
        "-r",
        "-p",
        "--binary",
        "--full-index",
        "--no-renames",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
    ),
    *("--no-relative", "--src-prefix=a/", "--dst-prefix=b/", "-U3"),
)


def collect(
    base: Path,
    delta: BinaryIO | None,
    tree: Path,
    changed: Collection[bytes] | None,
    into: Path,
    limits: PatchLimits,
    *,
    from_base: bool = True,
) -> None:
    """Write `change.patch` and `changes.json` into `into`.

    They say what `tree` has that it did not have.

    `base` is an unpacked snapshot, whose `.git` holds all that is needed of the repository. `delta`
    is what was applied to it before `tree` was given away; the patch is from the snapshot, or, with
    `from_base` off, from the tree that the delta made.

    `changed` holds the paths that can differ from the snapshot, parents of deleted ones included;
    None: everything is looked at. If anything is refused, the patch is empty and the document says
    why.

    Raises ValueError for a malformed delta, GitFailed for a base that is no snapshot.
    """
    with tempfile.TemporaryDirectory(prefix="vsc-dehydrate-") as name:
        scratch = Path(name)
        git = PrivateGit(scratch, objects=base / ".git/objects")
        objects = LooseObjects(git.directory / "objects")
        with ObjectReader(git) as reader, HostileTree(tree, limits) as hostile:
            snapshot = BaseTree(reader, tree_of_head(reader, base / ".git"))
            against = snapshot
            if delta is not None and not from_base:
                against = BaseTree(reader, with_delta(snapshot, read_delta(delta), objects))
            search = _Search(against, snapshot, hostile, limits, objects, scratch)
            new_tree = search.run(changed)
            written = new_tree is not None and _written(
                git, search, against.root, new_tree, into / PATCH
            )
            if not written:
                new_tree = None
                (into / PATCH).write_bytes(b"")
        (into / CHANGES).write_text(search.changes(new_tree).to_json(), encoding="utf-8")


def _written(git: PrivateGit, search: "_Search", against: str, new: str, patch: Path) -> bool:
    """Print the patch; False: it is too much for git, and the search's refusals say so."""
    if new == against:
        patch.touch()
        return True
    try:
        git.write_to(patch, *_DIFF, against, new)
    except GitLimit as limit:
        search.refuse(b"", f"the change is too large ({limit}); split it")
        return False
    if patch.stat().st_size > search.limits.patch_bytes:
        most = search.limits.patch_bytes
        search.refuse(b"", f"the patch has more than {most} bytes; split the change")
        return False
    return True


@dataclass(slots=True)
class _Search:
    """Finds what differs. The rules decide on new things; what the base has may stay as it is."""

    base: BaseTree
    """What the tree is compared with."""
    rules: BaseTree
    """Whose ignore files count: the snapshot's, which no agent has written."""
    tree: HostileTree
    limits: PatchLimits
    objects: LooseObjects
    scratch: Path
    entries: list[ChangedEntry] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _candidates: set[bytes] = field(default_factory=set)
    _odd: dict[bytes, str] = field(default_factory=dict)
    """Path -> why it cannot be taken, unless nobody wants it anyway."""
    _walked: set[bytes] = field(default_factory=set)
    _bytes: int = 0
    _new_refused: int = 0
    _stopped: str | None = None

    def run(self, changed: Collection[bytes] | None) -> str | None:
        """Fill `entries`, `refused` and `notes`.

        The id of the new tree, or None if anything is refused.
        """
        try:
            if changed is None:
                self._walk(b"")
                self._candidates.update(self.base.files_below(b""))
            else:
                for path in sorted(changed):
                    self._consider(path.strip(b"/") if path != b"." else b"")
            self._compare_all()
        except (TreeLimit, GitLimit) as limit:
            self._stop(str(limit))
        except Shrunk:
            self._stop("a file changed while it was read: something still writes to this tree")
        self.entries.sort(key=lambda entry: entry.path)
        new = NewTree(self.base, self.entries)
        added = [entry.path for entry in self.entries if entry.base_mode is None]
        for path, other in twins(new.touched, added).items():
            self.refuse(path, f"some file systems take it for {other!r}")
        return None if self.refused else new.store(self.objects)

    def _stop(self, why: str) -> None:
        self._stopped = why
        self.refuse(b"", why)

    def _compare_all(self) -> None:
        new = []
        for path in sorted(self._candidates):
            known = self.base.file(path)
            if known is None:
                new.append(path)
            else:
                self._compare(path, *known)
        self._take_new(new)

    def changes(self, tree: str | None) -> Changes:
        """The document."""
        refused = tuple(sorted(self.refused, key=lambda entry: (entry.path, entry.reason)))
        if (more := self._new_refused - self.limits.refused) > 0:
            refused += (RefusedEntry(b"", f"{more} more entries cannot be taken"),)
        differing = {entry.path for entry in self.entries} | {entry.path for entry in self.refused}
        altered = tuple(path for path in sorted(differing) if self.base.file(path))
        return Changes(
            tree, tuple(self.entries), refused, tuple(self.notes), altered, self._stopped
        )

    def _consider(self, path: bytes) -> None:
        """A path that may differ: its file, or, of a directory, which names are gone."""
        if path == b".git" or path.startswith(b".git/") or path in self._walked:
            return
        if path.rpartition(b"/")[0] in self._walked or self._is_new_litter(path):
            return
        if any(is_dot_git(name) for name in path.split(b"/")):
            self._found(path)
            return
        entry = self._look(path) if path else Entry(0o040000, 0)
        listing = self.base.listing(path)
        if self.base.file(path):
            self._candidates.add(path)
        if entry is None or not entry.is_directory:
            self._candidates.update(self.base.files_below(path))
            if entry is not None:
                self._found(path)
        elif listing is None:
            self._walk(path)
        else:
            for name in listing.keys() - self._names(path):
                gone = path + b"/" + name if path else name
                self._candidates.update(
                    (gone,) if self.base.file(gone) else self.base.files_below(gone)
                )

    def _walk(self, top: bytes) -> None:
        queue = [top]
        while queue:
            directory = queue.pop()
            self._walked.add(directory)
            for name in self._names(directory):
                path = directory + b"/" + name if directory else name
                if path == b".git":
                    continue  # the sandbox's own; never read
                entry = self._look(path)
                if entry is not None and entry.is_directory and not is_dot_git(name):
                    if not self._is_new_litter(path):
                        queue.append(path)
                elif entry is not None:
                    self._found(path)

    def _is_new_litter(self, path: bytes) -> bool:
        litter = is_litter(path) or is_litter_directory(path.rpartition(b"/")[2])
        return litter and self.base.file(path) is None and self.base.listing(path) is None

    def _found(self, path: bytes) -> None:
        """Something that is not a directory (or pretends to be a git directory)."""
        names = path.split(b"/")
        for index, name in enumerate(names):
            if is_dot_git(name) and self.base.file(path) is None:
                self._odd[b"/".join(names[: index + 1])] = (
                    "a git directory inside the repository hides what lies in it"
                )
                return
        self._candidates.add(path)

    def _names(self, directory: bytes) -> list[bytes]:
        if directory.count(b"/") >= self.limits.depth:
            self._odd[directory] = f"deeper than {self.limits.depth} directories"
            return []
        try:
            return self.tree.names(directory)
        except Unreadable as error:
            self._odd[directory] = str(error)
            return []

    def _look(self, path: bytes) -> Entry | None:
        try:
            return self.tree.look(path)
        except Unreadable as error:
            self._odd[path] = str(error)
            return None

    def _compare(self, path: bytes, mode: str, blob: str) -> None:
        """A path that the base has."""
        entry = self._look(path)
        if path in self._odd:
            self.refuse(path, self._odd.pop(path))
        elif entry is None or entry.is_directory:
            self._add(ChangedEntry(path, mode, None, blob, None), 0)
        elif entry.git_mode is None:
            self.refuse(path, f"is {entry.kind}")
        else:
            both_links_or_files = (entry.git_mode == "120000") == (mode == "120000")
            head = self._blob(path, entry, known=blob if both_links_or_files else None)
            if head is not None and (entry.git_mode, head) != (mode, blob):
                self._add(ChangedEntry(path, mode, entry.git_mode, blob, head), entry.size)

    def _take_new(self, paths: list[bytes]) -> None:
        """Paths that the base does not have, and what cannot be taken.

        Without litter and what the base's rules ignore.
        """
        wanted = [
            path
            for path in (*paths, *self._odd)
            if not is_litter(path) and len(path) <= self.limits.path_bytes
        ]
        ignored = ignored_by_base(self.rules, self.scratch, wanted)
        left_out = ignored | {path for path in (*paths, *self._odd) if is_litter(path)}
        if left_out:
            self.notes.append(
                f"{len(left_out)} untracked entries were left out:"
                " ignored by the base, or litter of tools"
            )
        for path, reason in self._odd.items():
            if path not in left_out:
                self.refuse(path, reason)
        for path in paths:
            if path not in left_out and path not in self._odd:
                self._take(path)

    def _take(self, path: bytes) -> None:
        entry = self._look(path)
        if entry is None or entry.is_directory:
            return  # gone: deleted by the same hand that made it
        reason = refused_name(path, self.limits)
        if reason is None and self.base.in_submodule(path):
            reason = "lies in a submodule"
        if reason is None and entry.git_mode is None:
            reason = f"is {entry.kind}"
        if reason is not None:
            self.refuse(path, reason)
            return
        blob = self._blob(path, entry, known=None)
        if blob is not None and entry.git_mode is not None:
            self._add(ChangedEntry(path, None, entry.git_mode, None, blob), entry.size)

    def _blob(self, path: bytes, entry: Entry, *, known: str | None) -> str | None:
        """The id of what lies at `path`, stored unless it is `known`; None: it was refused."""
        try:
            return (
                self._link(path, known)
                if entry.git_mode == "120000"
                else self._file(path, entry, known)
            )
        except Unreadable as error:
            self.refuse(path, str(error))
            return None

    def _link(self, path: bytes, known: str | None) -> str | None:
        target = self.tree.link_target(path)
        if blob_id_of(target) == known:
            return known
        reason = refused_link(path, target)
        if reason is None:
            return self.objects.store_bytes(target)
        self.refuse(path, reason)
        return None

    def _file(self, path: bytes, entry: Entry, known: str | None) -> str | None:
        if entry.size > self.limits.file_bytes:
            self.refuse(path, f"{entry.size} bytes; at most {self.limits.file_bytes} are taken")
            return None
        if entry.mode & 0o6000:
            self.notes.append(f"{path!r}: its set-id bits were dropped")
        with self.tree.file(path) as fd:
            if known is not None and blob_id(fd, entry.size) == known:
                return known
            return self.objects.store(fd, entry.size)

    def _add(self, entry: ChangedEntry, size: int) -> None:
        self.entries.append(entry)
        self._bytes += size
        if len(self.entries) > self.limits.files:
            raise TreeLimit(f"more than {self.limits.files} files changed")
        if self._bytes > self.limits.total_bytes:
            raise TreeLimit(f"the changed files have more than {self.limits.total_bytes} bytes")

    def refuse(self, path: bytes, reason: str) -> None:
        """Note it; of new paths, which are as many as somebody likes, only the first by number."""
        if not path or self.base.file(path):
            self.refused.append(RefusedEntry(path, reason))
            return
        self._new_refused += 1
        if self._new_refused <= self.limits.refused:
            self.refused.append(RefusedEntry(path, reason))

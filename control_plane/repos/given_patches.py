"""What of a patch that somebody brings cannot be judged: dehydrate's rules, on trees of our mirror.

A patch is judged whole or not at all. What a sandbox would not have brought back, had an agent made
the same change in it, is said with the path and the reason.
"""

import asyncio
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.repos.mirrors import Mirrors
from control_plane.repos.trees import Difference, Trees
from runners.base_ignores import ignored_by_base
from runners.base_tree import BaseTree, ObjectReader
from runners.git_private import PrivateGit
from runners.tree_rules import (
    PatchLimits,
    is_dot_git,
    is_litter,
    refused_link,
    refused_name,
    twins,
)

LEFT_OUT = (
    "the patch has it, and it cannot be judged (ignored by the base's .gitignore, a submodule, or"
    " litter of tools); take it out"
)
SUBMODULE, LINK = "160000", "120000"
MOST_TOLD = 100
_LINK_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules want to know beside the difference itself."""

    sizes: Mapping[str, int]
    """Blob -> bytes."""
    links: Mapping[str, bytes]
    """Blob of a link -> its target; one that is far too long is missing."""
    ignored: Collection[bytes] = frozenset()
    """New paths that the base's own `.gitignore` files leave out."""
    in_submodule: Collection[bytes] = frozenset()
    twins: Mapping[bytes, bytes] = field(default_factory=dict)
    """New path -> another one that some file system takes it for."""


def refusals(
    differing: Sequence[Difference], facts: Facts, limits: PatchLimits
) -> list[tuple[bytes, str]]:
    """Path and reason of all that cannot be taken; an empty path: the change as a whole. Pure."""
    found = [(path, reason) for one in differing for path, reason in _refused(one, facts, limits)]
    found += [
        (path, f"some file systems take it for {other!r}") for path, other in facts.twins.items()
    ]
    found += [(b"", reason) for reason in _too_much(differing, facts, limits)]
    return sorted(set(found))


def _refused(one: Difference, facts: Facts, limits: PatchLimits) -> Iterator[tuple[bytes, str]]:
    if SUBMODULE in {side.mode for side in (one.old, one.new) if side}:
        yield one.path, LEFT_OUT
    elif one.new is not None:
        if one.old is None and (reason := _refused_new(one.path, facts, limits)) is not None:
            yield reason
        elif (why := _refused_bytes(one, facts, limits)) is not None:
            yield one.path, why


def _refused_new(path: bytes, facts: Facts, limits: PatchLimits) -> tuple[bytes, str] | None:
    if is_litter(path) or path in facts.ignored:
        return path, LEFT_OUT
    names = path.split(b"/")
    for index, name in enumerate(names):
        if is_dot_git(name):
            hides = "a git directory inside the repository hides what lies in it"
            return b"/".join(names[: index + 1]), hides
    reason = refused_name(path, limits)
    if reason is None and path in facts.in_submodule:
        reason = "lies in a submodule"
    return None if reason is None else (path, reason)


def _refused_bytes(one: Difference, facts: Facts, limits: PatchLimits) -> str | None:
    assert one.new is not None  # noqa: S101 -- the caller has looked; for the type checker
    size = facts.sizes[one.new.blob]
    if one.new.mode == LINK:
        target = facts.links.get(one.new.blob)
        if target is None:
            return f"a link whose target has {size} bytes"
        return refused_link(one.path, target)
    if size > limits.file_bytes:
        return f"{size} bytes; at most {limits.file_bytes} are taken"
    return None


def _too_much(differing: Sequence[Difference], facts: Facts, limits: PatchLimits) -> Iterator[str]:
    if len(differing) > limits.files:
        yield f"more than {limits.files} files changed"
    if sum(facts.sizes.get(one.new.blob, 0) for one in differing if one.new) > limits.total_bytes:
        yield f"the changed files have more than {limits.total_bytes} bytes"


class GivenPatches:
    """Looks at given patches in the mirrors."""

    def __init__(self, mirrors: Mirrors, limits: PatchLimits) -> None:
        self._mirrors, self._limits, self._trees = mirrors, limits, Trees(mirrors)

    async def refused(self, repo_id: str, base_commit: str, head_tree: str) -> tuple[str, ...]:
        """What of the change from `base_commit` to `head_tree` cannot be judged, in words."""
        base_tree = await self._mirrors.tree_of(repo_id, base_commit)
        if head_tree == base_tree:
            return ()
        differing = await self._trees.differences(repo_id, base_tree, head_tree)
        facts = await self._facts(repo_id, base_tree, head_tree, differing)
        return told(refusals(differing, facts, self._limits))

    async def _facts(
        self, repo_id: str, base_tree: str, head_tree: str, differing: Sequence[Difference]
    ) -> Facts:
        blobs = [one.new.blob for one in differing if one.new and one.new.mode != SUBMODULE]
        links = [one.new.blob for one in differing if one.new and one.new.mode == LINK]
        added = [
            one.path
            for one in differing
            if one.old is None and one.new and one.new.mode != SUBMODULE
        ]
        seen = await asyncio.to_thread(
            _seen_in_trees,
            self._mirrors.git(repo_id).git_dir / "objects",
            base_tree,
            head_tree,
            [path for path in added if len(path) <= self._limits.path_bytes],
        )
        return Facts(
            sizes=await self._trees.sizes(repo_id, blobs),
            links=await self._trees.blobs(repo_id, links, _LINK_BYTES),
            ignored=seen.ignored,
            in_submodule=seen.in_submodule,
            twins=seen.twins,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    ignored: set[bytes]
    in_submodule: set[bytes]
    twins: dict[bytes, bytes]


def _seen_in_trees(objects: Path, base_tree: str, head_tree: str, added: Sequence[bytes]) -> _Seen:
    """What the two trees say of the new paths. Blocking."""
    with tempfile.TemporaryDirectory(prefix="vsc-given-") as name:
        scratch = Path(name)
        with ObjectReader(PrivateGit(scratch, objects=objects)) as reader:
            base, head = BaseTree(reader, base_tree), BaseTree(reader, head_tree)
            asked = [path for path in added if not is_litter(path)]
            names = {above: list(head.listing(above) or ()) for above in _directories(added)}
            return _Seen(
                ignored=ignored_by_base(base, scratch, asked),
                in_submodule={path for path in asked if base.in_submodule(path)},
                twins=twins(names, added),
            )


def _directories(paths: Iterable[bytes]) -> set[bytes]:
    """Every directory above one of the paths, the root included."""
    above: set[bytes] = set()
    for path in paths:
        directory = path.rpartition(b"/")[0]
        while directory not in above:
            above.add(directory)
            directory = directory.rpartition(b"/")[0]
    return above


def told(refused: Sequence[tuple[bytes, str]]) -> tuple[str, ...]:
    """The refusals as text, the first of them by name."""
    lines = [f"{os.fsdecode(path) or 'the change'}: {reason}" for path, reason in refused]
    more = len(lines) - MOST_TOLD
    return (*lines[:MOST_TOLD], *([f"the change: {more} more entries like these"] * (more > 0)))

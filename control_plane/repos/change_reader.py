"""What a change is, for the judge: files, line numbers, listings and contents.

The product is a `quality_gates.model.Change`.
"""

import asyncio
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from control_plane.repos.git import RepositoryError
from control_plane.repos.listings import Readable, dependency_files, readable
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.trees import ChangeTooLarge, Difference, Trees
from quality_gates.model import Change, FileChange

MAX_FILE_BYTES = 4 * 2**20
"""A file larger than this is listed, and its contents are left out."""
MAX_TOTAL_BYTES = 128 * 2**20
MAX_TOUCHED_LINES = 1_000_000
"""Lines that a change adds and removes: git counts them before it prints any."""

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True)
class Lines:
    """What one section of a patch touches."""

    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    binary: bool = False


class ChangeReader:
    """Reads changes out of the mirrors.

    `is_configuration` says which files are read beside those that changed.
    """

    def __init__(self, mirrors: Mirrors, is_configuration: Callable[[str], bool]) -> None:
        self._mirrors, self._trees, self._is_configuration = (
            mirrors,
            Trees(mirrors),
            is_configuration,
        )

    async def read(
        self, repo_id: str, base_commit: str, head_tree: str, patch_sha256: str
    ) -> Change:
        """Everything that the gates want to know of base and head. Raises ChangeTooLarge."""
        base_tree = await self._mirrors.tree_of(repo_id, base_commit)
        base = await readable(self._trees, repo_id, base_tree)
        head = await readable(self._trees, repo_id, head_tree)
        differing = await self._trees.differences(repo_id, base_tree, head_tree)
        patch = await self._patch(repo_id, base_tree, head_tree)
        wanted = {os.fsdecode(item.path) for item in differing}
        wanted |= {name for name in base.files | head.files if self._is_configuration(name)}
        wanted |= _led_elsewhere(base, head)
        blobs = [*base.blobs_of(wanted).values(), *head.blobs_of(wanted).values()]
        contents = await self._trees.blobs(repo_id, blobs, MAX_FILE_BYTES, MAX_TOTAL_BYTES)
        sections = await asyncio.to_thread(lambda: list(touched_lines(patch)))
        return Change(
            base_commit=base_commit,
            patch_sha256=patch_sha256,
            files=tuple(_files(differing, iter(sections))),
            base_tree=base.modes,
            head_tree=head.modes,
            base_contents=_contents(base, wanted, contents),
            head_contents=_contents(head, wanted, contents),
            base_links=base.links.targets,
            head_links=head.links.targets,
            base_dependencies=await dependency_files(self._trees, repo_id, base),
            head_dependencies=await dependency_files(self._trees, repo_id, head),
        )

    async def unchanged(self, repo_id: str, base_commit: str) -> Change:
        """The change that changes nothing, as a base run looks at it."""
        base_tree = await self._mirrors.tree_of(repo_id, base_commit)
        return await self.read(repo_id, base_commit, base_tree, "")

    async def _patch(self, repo_id: str, base_tree: str, head_tree: str) -> bytes:
        counted = await self._trees.compared(repo_id, "--numstat", base_tree, head_tree)
        if touched_count(counted) > MAX_TOUCHED_LINES:
            raise ChangeTooLarge(
                f"the change touches more than {MAX_TOUCHED_LINES} lines; split it"
            )
        return await self._trees.compared(
            repo_id, "-p", "-U0", "--full-index", base_tree, head_tree
        )


def touched_count(numstat: bytes) -> int:
    """Lines added and removed, as `git diff-tree --numstat` counts them. Binary files have none."""
    counts = (line.split(b"\t")[:2] for line in numstat.splitlines())
    return sum(int(number) for pair in counts for number in pair if number.isdigit())


def _led_elsewhere(base: Readable, head: Readable) -> set[str]:
    """Files that a link of either side leads to and that the other side has not by that name."""
    before, after = base.links.names, head.links.names
    names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    return {side[name] for name in names for side in (before, after) if name in side}


def _contents(
    listing: Readable, wanted: set[str], contents: Mapping[str, bytes]
) -> dict[str, bytes]:
    """By every name under which one of the wanted files is opened."""
    return {
        name: contents[blob] for name, blob in listing.blobs_of(wanted).items() if blob in contents
    }


def touched_lines(patch: bytes) -> Iterator[Lines]:
    """The line numbers of each section of a patch without context, in order.

    Names are not read: git's order tells them.
    """
    section: list[bytes] | None = None
    for line in io.BytesIO(patch):  # one at a time: a list of them takes ten times the patch
        # A content line starts with a space, a sign or a backslash.
        if line.startswith(b"diff --git "):
            if section is not None:
                yield _section(section)
            section = []
        elif section is not None and line.startswith((b"@@ ", b"Binary files ")):
            section.append(line)
    if section is not None:
        yield _section(section)


def _section(lines: list[bytes]) -> Lines:
    added: list[int] = []
    removed: list[int] = []
    for line in lines:
        if found := _HUNK.match(line):
            removed += _span(found[1], found[2])
            added += _span(found[3], found[4])
    return Lines(
        tuple(added), tuple(removed), any(line.startswith(b"Binary files ") for line in lines)
    )


def _span(start: bytes, count: bytes | None) -> range:
    first = int(start)
    return range(first, first + (1 if count is None else int(count)))


def _files(differing: Iterable[Difference], sections: Iterator[Lines]) -> Iterator[FileChange]:
    try:
        for item in differing:
            lines = next(sections)
            if item.old and item.new and item.old.mode[:2] != item.new.mode[:2]:
                # Another type: git shows a removal and an addition.
                second = next(sections)
                lines = Lines(second.added, lines.removed, lines.binary or second.binary)
            yield _file(item, lines)
    except StopIteration:
        raise RepositoryError(
            "git's list of files and its patch disagree; nothing can be judged on that"
        ) from None
    if next(sections, None) is not None:
        raise RepositoryError(
            "git's patch has more files than its list; nothing can be judged on that"
        )


def _file(item: Difference, lines: Lines) -> FileChange:
    return FileChange(
        path=os.fsdecode(item.path),
        base_mode=item.old.mode if item.old else None,
        head_mode=item.new.mode if item.new else None,
        base_blob=item.old.blob if item.old else None,
        head_blob=item.new.blob if item.new else None,
        added_lines=lines.added,
        removed_lines=lines.removed,
        binary=lines.binary,
    )

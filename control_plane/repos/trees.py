"""Trees made of objects in a mirror: a patch applied, two trees compared or mixed.

What an author can make git do has limits; past them the change is too large.

No work tree, no file of a repository on disk.
"""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from control_plane.repos.git import GitFailed, GitLimit, GitLimits, RepositoryError
from control_plane.repos.mirrors import Incarnation, Mirrors
from runners.archive import Entry
from runners.hydrate import write_delta
from sandboxes.packed import packed

MAX_DELTA_BYTES = 128 * 2**20
MAX_BLOBS_BYTES = 200 * 2**20
"""Contents that are held in memory at once."""
MAX_TEXT_BYTES = 4 * 2**20
"""A file larger than this is compared as a binary one: by its bytes, never line by line."""
CHANGE_LIMITS = GitLimits(time_s=60.0, output_bytes=256 * 2**20, memory_bytes=2**30)
"""Of every git whose work an author of a change decides."""
_OFFSET = re.compile(r"^Hunk #\d+ succeeded at \d+ \(offset -?\d+ lines?\)", re.MULTILINE)
_ZERO = "0" * 40


class PatchDoesNotApply(RepositoryError):
    """The patch was not made from this base; make it again from the base that the message names."""


class ChangeTooLarge(RepositoryError):
    """The change is more than a judge takes; its author must split it."""


@contextlib.contextmanager
def authors_limits() -> Iterator[None]:
    """Within it, a git that comes to a limit says that the change is too large."""
    try:
        yield
    except GitLimit as limit:
        raise ChangeTooLarge(f"the change is too large ({limit}); split it") from limit


@dataclass(frozen=True, slots=True)
class Listed:
    """One path of a tree."""

    mode: str
    blob: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that differs between two trees; None: not there."""

    path: bytes
    old: Listed | None
    new: Listed | None


class Trees:
    """Object-level operations on the mirrors.

    Nothing here needs a lock: objects only come, and none is ever pruned.
    """

    def __init__(self, mirrors: Mirrors) -> None:
        self._mirrors = mirrors

    async def apply_patch(self, repo_id: str, base_commit: str, patch: bytes) -> str:
        """The tree of base + patch: exactly, without fuzz or offset.

        Raises PatchDoesNotApply with git's words, and ChangeTooLarge.
        """
        git, base_tree = (
            self._mirrors.git(repo_id),
            await self._mirrors.tree_of(repo_id, base_commit),
        )
        if not patch.strip():
            return base_tree
        with _index() as index:
            await git.run("read-tree", base_tree, index=index)
            try:
                with authors_limits():
                    applied = await git.run(
                        "apply",
                        "--cached",
                        "--binary",
                        "--whitespace=nowarn",
                        "--verbose",
                        "-",
                        stdin=patch,
                        index=index,
                        limits=CHANGE_LIMITS,
                    )
            except GitFailed as failed:
                raise PatchDoesNotApply(
                    f"on {base_commit}: {failed.stderr.strip()[-2000:]}"
                ) from failed
            if shifted := _OFFSET.search(applied.stderr):
                raise PatchDoesNotApply(
                    f"on {base_commit}: {shifted[0]}; only an exact patch is taken"
                )
            return await git.line("write-tree", index=index)

    def incarnation(self, repo_id: str) -> Incarnation | None:
        """Which mirror the trees are in (`Mirrors.incarnation`)."""
        return self._mirrors.incarnation(repo_id)

    async def has(self, repo_id: str, tree: str) -> bool:
        """Whether the tree is in this home's mirror."""
        asked = await self._mirrors.git(repo_id).run("cat-file", "-e", tree, check=False)
        return asked.exit_code == 0

    async def differences(self, repo_id: str, old: str, new: str) -> list[Difference]:
        """Every path that differs, in git's order. Raises ChangeTooLarge."""
        return list(_raw(await self.compared(repo_id, "--raw", "--no-abbrev", "-z", old, new)))

    async def compared(self, repo_id: str, *arguments: str) -> bytes:
        """What `git diff-tree` prints of two trees. Raises ChangeTooLarge."""
        git = self._mirrors.git(repo_id)
        with authors_limits():
            done = await git.run(*DIFF, *arguments, "--", config=_TEXT, limits=CHANGE_LIMITS)
        return done.stdout

    async def listing(self, repo_id: str, tree: str) -> dict[bytes, Listed]:
        """Every path of a tree or commit."""
        done = await self._mirrors.git(repo_id).run("ls-tree", "-r", "-z", "--full-tree", tree)
        listed = (line.split(b"\t", 1) for line in done.stdout.split(b"\0") if line)
        return {
            path: Listed(facts.split()[0].decode(), facts.split()[2].decode())
            for facts, path in listed
        }

    async def compose(self, repo_id: str, side: str, swaps: Mapping[bytes, str]) -> str:
        """The tree `side`, but each path of `swaps` as the tree it maps to has it.

        Absent there: removed.
        """
        git = self._mirrors.git(repo_id)
        if not swaps:
            return await git.line("rev-parse", "--verify", f"{side}^{{tree}}")
        others = {tree: await self.listing(repo_id, tree) for tree in set(swaps.values())}
        found = {path: others[tree].get(path) for path, tree in swaps.items()}
        removals = [b"0 %s\t%s\0" % (_ZERO.encode(), path) for path in found]
        additions = [
            b"%s %s\t%s\0" % (f.mode.encode(), f.blob.encode(), path)
            for path, f in found.items()
            if f
        ]
        with _index() as index:
            await git.run("read-tree", side, index=index)
            await git.run(
                "update-index",
                "-z",
                "--replace",
                "--index-info",
                stdin=b"".join(removals + additions),
                index=index,
            )
            return await git.line("write-tree", index=index)

    async def delta(self, repo_id: str, old: str, new: str) -> bytes:
        """What turns a directory of tree `old` into one of tree `new`: a packed delta.

        Submodules have no bytes here.
        """
        differing = [
            item
            for item in await self.differences(repo_id, old, new)
            if _has_bytes(item.old) or _has_bytes(item.new)
        ]
        placed = [item.new.blob for item in differing if item.new and _has_bytes(item.new)]
        contents = await self.blobs(repo_id, placed, MAX_DELTA_BYTES)
        if missing := set(placed) - contents.keys():
            raise ChangeTooLarge(
                f"{len(missing)} files of the change are larger than {MAX_DELTA_BYTES} bytes;"
                " leave them out"
            )
        into = io.BytesIO()
        write_delta((_entry(item, contents) for item in differing), into)
        return packed(into.getvalue())

    async def sizes(self, repo_id: str, blobs: list[str]) -> dict[str, int]:
        """How many bytes each object has."""
        asked = "--batch-check=%(objectname) %(objectsize)"
        told = await self._mirrors.git(repo_id).run(
            "cat-file", asked, stdin=_lines(sorted(set(blobs)))
        )
        return {name: int(size) for name, size in map(str.split, told.stdout.decode().splitlines())}

    async def blobs(
        self, repo_id: str, blobs: list[str], max_bytes_each: int, max_bytes: int = MAX_BLOBS_BYTES
    ) -> dict[str, bytes]:
        """Contents by object id; one that is larger than `max_bytes_each` is left out.

        Raises ChangeTooLarge, before anything is read, when all together are past `max_bytes`.
        """
        git, wanted = self._mirrors.git(repo_id), sorted(set(blobs))
        asked = await git.run(
            "cat-file",
            "--batch-check=%(objectname) %(objecttype) %(objectsize)",
            stdin=_lines(wanted),
        )
        sizes = dict(_sizes(asked.stdout.decode(), max_bytes_each))
        if sum(sizes.values()) > max_bytes:
            raise ChangeTooLarge(f"the change touches more than {max_bytes} bytes; split it")
        done = await git.run("cat-file", "--batch", stdin=_lines(list(sizes)))
        return dict(_batch(done.stdout))


_TEXT = {"core.bigFileThreshold": str(MAX_TEXT_BYTES)}
DIFF = (
    "diff-tree", "-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color",
    "--no-relative", "--diff-algorithm=myers", "--inter-hunk-context=0",
    "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short",
)  # fmt: skip
"""The comparison that gives the same bytes on every machine."""


def _has_bytes(listed: Listed | None) -> bool:
    return listed is not None and listed.mode != "160000"


def _entry(item: Difference, contents: Mapping[str, bytes]) -> Entry:
    if item.new is None or not _has_bytes(item.new):
        return Entry(item.path, None)
    mode = item.new.mode.replace("100664", "100644")  # git's old group-writable mode
    return Entry(item.path, mode, contents[item.new.blob])


@contextlib.contextmanager
def _index() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vsc-index-") as folder:
        yield Path(folder) / "index"


def _raw(output: bytes) -> Iterator[Difference]:
    fields = iter(output.split(b"\0"))
    for facts in fields:
        if not facts.startswith(b":"):
            continue  # the empty field after the last NUL, or a commit's own name
        old_mode, new_mode, old, new, _ = facts[1:].decode().split()
        yield Difference(next(fields), _listed(old_mode, old), _listed(new_mode, new))


def _listed(mode: str, blob: str) -> Listed | None:
    return None if mode == "000000" else Listed(mode, blob)


def _lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _sizes(answer: str, max_bytes_each: int) -> Iterator[tuple[str, int]]:
    for line in answer.splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1] == "blob" and int(parts[2]) <= max_bytes_each:
            yield parts[0], int(parts[2])


def _batch(output: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        name, _, size = output[position:end].split()
        yield name.decode(), output[end + 1 : end + 1 + int(size)]
        position = end + 1 + int(size) + 1

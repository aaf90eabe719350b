"""A commit as an archive, straight from the mirror's objects: no file of it is ever on our disk.

It holds the files, and a `.git` with exactly one commit.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from control_plane.repos.git import Git, RepositoryError, write_attributes
from control_plane.repos.git_index import with_stat
from control_plane.repos.kept import tree_of
from runners.archive import COPY_BYTES, DIRECTORY, EXECUTABLE, FILE, LINK, Member, Writer, members
from runners.base_tree import HEAD_REF
from runners.tree_rules import components
from runners.unpack import FILES_NS
from sandboxes.packed import packing, unpacked

# What the agent's own git sees: one commit, bytes as they are, and no re-hash after the change of
# owner or the overlay.
_CONFIG = """[core]
	repositoryformatversion = 0
	filemode = true
	bare = false
	logallrefupdates = false
	checkStat = minimal
	trustctime = false
"""
_PACKING = {"pack.window": "0", "pack.compression": "0", "pack.writeReverseIndex": "false"}
"""So that the pack follows from the objects, whatever the mirror's own packs look like.

Not compressed, so that zstd finds each object to be a file that it has seen: half the bytes.
"""


async def write_snapshot(mirror: Git, commit: str, into: IO[bytes]) -> None:
    """Write the packed archive of `commit`. The same git and zstd give the same bytes.

    Raises CommitMissing, and RepositoryError for a tree that no sandbox can have.
    """
    tree = await tree_of(mirror, commit)
    files = await _listing(mirror, tree)
    with tempfile.TemporaryDirectory(prefix="vsc-snapshot-") as scratch:
        git = await _single_commit(mirror, commit, tree, Path(scratch) / ".git", files)
        try:
            await asyncio.to_thread(_write, mirror, git.git_dir, files, into)
        except ValueError as error:
            raise RepositoryError(f"{commit} cannot be a sandbox's tree: {error}") from error


def read_git(snapshot: BinaryIO, into: Path, max_bytes: int) -> None:
    """Make the `.git` of a packed snapshot below `into`: all that a mirror wants of it. Blocking.

    The whole of `snapshot` is read, so that a depot has checked it. Raises ValueError for what is
    no snapshot of ours.
    """
    with unpacked(snapshot, max_bytes) as archive:
        for member in members(archive):
            if member.path.startswith(b".git/"):
                _place(into / os.fsdecode(member.path), member)


def _place(path: Path, member: Member) -> None:
    if member.mode == DIRECTORY:
        path.mkdir(parents=True)
    elif member.mode == FILE:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            while data := member.read(COPY_BYTES):
                file.write(data)
    else:
        raise ValueError(f"{member.path!r} has the mode {member.mode}: no git directory of ours")


@dataclass(frozen=True, slots=True)
class _File:
    """What becomes one entry: of the repository (`blob`), or of its git directory (`place`)."""

    path: bytes
    mode: str
    size: int
    blob: str = ""
    place: Path | None = None


async def _listing(mirror: Git, tree: str) -> list[_File]:
    listed = await mirror.run("ls-tree", "-r", "-l", "-z", "--full-tree", tree)
    return [_listed(line) for line in listed.stdout.split(b"\0") if line]


def _listed(line: bytes) -> _File:
    facts, _, path = line.partition(b"\t")
    mode, kind, blob, size = facts.decode().split()
    components(path)
    if kind == "commit":  # a submodule is an empty directory, as in any checkout
        return _File(path, DIRECTORY, 0)
    if mode != LINK:
        mode = EXECUTABLE if int(mode, 8) & 0o100 else FILE
    return _File(path, mode, int(size), blob)


async def _single_commit(
    mirror: Git, commit: str, tree: str, git_dir: Path, files: list[_File]
) -> Git:
    """A git directory whose only commit has the files of `commit`: no parent, tag or other history.

    Its index is fresh for the files as they will be unpacked.
    """
    git = Git(git_dir)
    await asyncio.to_thread(_lay_out, git_dir)
    pack = await mirror.run(
        "pack-objects",
        "--revs",
        "--stdout",
        "--quiet",
        "--threads=1",
        "--no-reuse-delta",
        "--no-reuse-object",
        "--no-use-bitmap-index",
        stdin=f"{tree}\n".encode(),
        config=_PACKING,
    )
    # A header and a trailer: the empty tree may have no object in the mirror.
    if len(pack.stdout) > 32:
        await git.run("index-pack", "--stdin", "--threads=1", stdin=pack.stdout, config=_PACKING)
    only = await git.line("commit-tree", tree, "-m", f"Base of this task: {commit}")
    await git.run("update-ref", HEAD_REF, only)
    index = git_dir / "index"
    await git.run("read-tree", "HEAD", index=index)
    sizes = {file.path: file.size for file in files if file.mode != DIRECTORY}
    fresh = with_stat(await asyncio.to_thread(index.read_bytes), sizes, FILES_NS // 10**9)
    await asyncio.to_thread(index.write_bytes, fresh)
    return git


def _lay_out(git_dir: Path) -> None:
    for folder in ("objects/pack", "objects/info", "refs/heads", "refs/tags", "info"):
        (git_dir / folder).mkdir(parents=True)
    (git_dir / "HEAD").write_text(f"ref: {HEAD_REF}\n")
    (git_dir / "config").write_text(_CONFIG)
    write_attributes(git_dir)


def _write(mirror: Git, git_dir: Path, files: list[_File], into: IO[bytes]) -> None:
    """Blocking."""
    wanted = sorted([*files, *_git_files(git_dir)], key=lambda file: file.path)
    with tempfile.TemporaryFile() as names:
        names.writelines(f"{file.blob}\n".encode() for file in wanted if file.blob)
        names.seek(0)
        with (
            mirror.reading("cat-file", "--batch", "--buffer", stdin=names) as objects,
            packing(into) as packer,
        ):
            writer = Writer(packer)
            for file in wanted:
                _add(writer, file, objects)
            writer.close()


def _git_files(git_dir: Path) -> Iterator[_File]:
    for path in git_dir.rglob("*"):
        name = f".git/{path.relative_to(git_dir)}".encode()
        if path.is_file():
            yield _File(name, FILE, path.stat().st_size, place=path)
        elif not any(path.iterdir()):
            yield _File(name, DIRECTORY, 0)


def _add(writer: Writer, file: _File, objects: IO[bytes]) -> None:
    if file.place is not None:
        with file.place.open("rb") as source:
            writer.add_from(file.path, file.mode, file.size, source)
    elif file.mode == DIRECTORY:
        writer.add(file.path, file.mode)
    else:
        told = objects.readline().split()
        if told != [file.blob.encode(), b"blob", str(file.size).encode()]:
            raise ValueError(f"{file.path!r}: the mirror says {told} of {file.blob}")
        writer.add_from(file.path, file.mode, file.size, objects)
        objects.read(1)

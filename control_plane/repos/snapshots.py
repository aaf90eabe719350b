"""Base snapshots: one read-only directory per commit, made once, the lower layer of every run on that commit."""

import asyncio
import os
import shutil
import stat
import tempfile
from pathlib import Path

from control_plane.repos.git import OBJECT_ID, Git, RepositoryError, write_attributes
from control_plane.repos.mirrors import Mirrors, file_lock

KIND = "snapshots"
_EPOCH_NS = 1_577_836_800 * 10**9
"""The time of every file: fixed, so that two builds are equal, and old, so that no index entry is racy (git)."""

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


class Snapshots:
    """`root/<repository id>/<commit>/`.

    `uid` is the sandbox's: with another owner its files could not be edited there.
    """

    def __init__(self, root: Path, mirrors: Mirrors, uid: int) -> None:
        self._root, self._mirrors, self._uid = root, mirrors, uid
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def ensure(self, repo_id: str, commit: str) -> str:
        """Make the snapshot if it is not there, once for all who ask.

        The key of its tree in the depot.
        """
        key = self._key(repo_id, commit)
        path = self.path(key)
        if not path.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            async with file_lock(path.with_name(f"{commit}.lock")):
                if not path.is_dir():
                    await self._make(repo_id, commit, path)
        return key

    def path(self, key: str) -> Path:
        """Where the tree of a key lies. Raises RepositoryError for a key that is not ours."""
        kind, _, rest = key.partition("/")
        repo_id, _, commit = rest.partition("/")
        if kind != KIND or self._key(repo_id, commit) != key:
            raise RepositoryError(f"{key!r} is not the key of a snapshot")
        return self._root / repo_id / commit

    def _key(self, repo_id: str, commit: str) -> str:
        if not OBJECT_ID.fullmatch(commit):
            raise RepositoryError(f"{commit!r} is not a full commit id; resolve it first")
        self._mirrors.git(repo_id)  # refuses an id that is no plain name
        return f"{KIND}/{repo_id}/{commit}"

    async def _make(self, repo_id: str, commit: str, path: Path) -> None:
        for stale in path.parent.glob(f".{commit}-*"):  # of a process that died; we hold the lock
            await asyncio.to_thread(shutil.rmtree, stale)
        partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{commit}-"))
        try:
            await self._fill(self._mirrors.git(repo_id), commit, partial)
            await asyncio.to_thread(partial.rename, path)
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)

    async def _fill(self, mirror: Git, commit: str, tree: Path) -> None:
        git = await _single_commit(mirror, commit, tree / ".git")
        index = git.git_dir / "index"
        await git.run("read-tree", "HEAD", index=index)
        await git.run("checkout-index", "--all", "--quiet", index=index, work_tree=tree)
        await asyncio.to_thread(_hand_over, tree, self._uid)
        await git.run("update-index", "-q", "--refresh", index=index, work_tree=tree)
        await asyncio.to_thread(_finish, index, self._uid)


async def _single_commit(mirror: Git, commit: str, git_dir: Path) -> Git:
    """A git directory whose only commit has the files of `commit`: no parent, tag, remote, reflog or other history."""
    tree = await mirror.line("rev-parse", "--verify", f"{commit}^{{tree}}")
    git = Git(git_dir)
    await asyncio.to_thread(_lay_out, git_dir)
    pack = await mirror.run(
        "pack-objects", "--revs", "--stdout", "--quiet", "--threads=1", stdin=f"{tree}\n".encode()
    )
    if (
        len(pack.stdout) > 32
    ):  # a header and a trailer: the empty tree may have no object in the mirror
        await git.run("index-pack", "--stdin", "--threads=1", stdin=pack.stdout)
    only = await git.line("commit-tree", tree, "-m", f"Base of this task: {commit}")
    await git.run("update-ref", "refs/heads/main", only)
    return git


def _lay_out(git_dir: Path) -> None:
    for folder in ("objects/pack", "objects/info", "refs/heads", "refs/tags", "info"):
        (git_dir / folder).mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    (git_dir / "config").write_text(_CONFIG)
    write_attributes(git_dir)


def _hand_over(tree: Path, uid: int) -> None:
    """Give every file to the sandbox's user, with fixed modes and times."""
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 -- 5,000 files: strings are four times faster than Path
            mode = os.lstat(path).st_mode
            os.chown(path, uid, uid, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                os.chmod(path, 0o755 if mode & 0o100 else 0o644)  # noqa: PTH101 -- as above
            os.utime(path, ns=(_EPOCH_NS, _EPOCH_NS), follow_symlinks=False)
        os.chown(folder, uid, uid)
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 -- as above; the sandbox's user reads it
        os.utime(folder, ns=(_EPOCH_NS, _EPOCH_NS))


def _finish(index: Path, uid: int) -> None:
    os.chown(index, uid, uid)
    index.chmod(0o644)
    os.utime(index.parent, ns=(_EPOCH_NS, _EPOCH_NS))

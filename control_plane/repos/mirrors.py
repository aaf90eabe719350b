"""A bare git repository of ours for each one: filled from a path, an archive or https."""

import asyncio
import contextlib
import os
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from filelock import lock_descriptor

from control_plane.repos import addresses
from control_plane.repos.archives import ArchiveLimits, Entry, checked, read_archive
from control_plane.repos.directories import read_directory
from control_plane.repos.fast_import import Commit, stream
from control_plane.repos.git import (
    DEFAULT_LIMITS,
    OBJECT_ID,
    Git,
    GitFailed,
    GitLimits,
    RepositoryError,
)
from control_plane.repos.kept import kept_ref, tree_of
from runners.base_tree import HEAD_REF as SNAPSHOT_REF

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FETCH = (
    "fetch",
    "--quiet",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
    "--no-tags",
    "--force",
    "--update-head-ok",
)
_ALL_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
HEAD_REF = "refs/vsc/head"
"""Where the source's HEAD stood at the last import, or the one commit that was taken.

Ours, so no branch of the source can collide with it.
"""

_ACCEPTED = {
    f"fetch.fsck.{problem}": "ignore"
    for problem in (
        *(f"gitmodules{what}" for what in ("Name", "Url", "Path", "Update", "Symlink")),
        *(f"gitmodules{what}" for what in ("Missing", "Blob", "Parse", "Large")),
        *(f"gitattributes{what}" for what in ("Missing", "Blob", "LineLength", "Large")),
    )
}
"""Contents that an archive may have, and that no git of ours acts on.

What another home has taken must not be refused here.
"""
_TREES_KEPT = 4096
_LAST_MADE = Path("info/attributes")
"""The last thing that `Git.create` writes."""
_MANY_LOOSE, _MANY_PACKS = 2000, 20
_UNREACHABLE_KEPT = "2.weeks.ago"


Incarnation = tuple[int, int]
"""Of one mirror, from its making to its removal."""


class RevisionUnknown(RepositoryError):
    """The repository has no such commit; name another, or import it first."""


class Mirrors:
    """`root/<repository id>.git`, mode 0700.

    Imports into one repository wait for each other, also across processes.
    """

    def __init__(
        self,
        root: Path,
        *,
        limits: GitLimits = DEFAULT_LIMITS,
        archive_limits: ArchiveLimits | None = None,
        max_refs: int = 50_000,
        allow_private_addresses: bool = False,
    ) -> None:
        self._root, self._limits, self._max_refs = root, limits, max_refs
        self._archive_limits = archive_limits or ArchiveLimits()
        self._allow_private = allow_private_addresses
        self._trees: dict[tuple[str, str, Incarnation], str] = {}
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def git(self, repo_id: str) -> Git:
        """The git of this repository's mirror, which may not exist yet."""
        if not _ID.fullmatch(repo_id):
            raise RepositoryError(f"{repo_id!r} cannot be a repository's id")
        return Git(self._root / f"{repo_id}.git", self._limits)

    async def import_path(self, repo_id: str, path: Path) -> str:
        """Take the commits of the local repository at `path`, or a plain directory as one commit.

        The commit of its HEAD.

        Only what is committed is taken: a dirty worktree is not.
        """
        path = await asyncio.to_thread(path.resolve)
        if not await asyncio.to_thread(_is_repository, path):
            entries = await asyncio.to_thread(read_directory, path, self._archive_limits)
            return await self._commit(repo_id, checked(entries), f"Import of {path.name}", None)
        url = "file://" + quote(str(path))
        return await self._fetch(repo_id, url, None, network=False, config={})

    async def take_commit(self, repo_id: str, path: Path, commit: str) -> None:
        """Take the files of one commit of the local repository at `path`, and no history.

        It is HEAD from now on. A shallow or partial clone is enough, if it holds those files.

        Raises RepositoryError: there is no such commit, or files of it are not there.
        """
        if not OBJECT_ID.fullmatch(commit):
            raise RepositoryError(f"{commit!r} is not a full commit id; resolve it first")
        path = await asyncio.to_thread(path.resolve)
        if not await asyncio.to_thread(_is_repository, path):
            raise RepositoryError(f"{path} is no git repository, so it has no commit {commit}")
        async with self.lock(repo_id) as git:
            kept = ("rev-parse", "--verify", "--quiet", f"{kept_ref(commit)}^{{tree}}")
            if (await git.run(*kept, check=False)).exit_code != 0:
                await _fetch_one(git, path, commit)
            await git.run("update-ref", HEAD_REF, kept_ref(commit))

    async def import_archive(
        self, repo_id: str, archive: Path, parent: str | None = None, message: str | None = None
    ) -> str:
        """Make the archive's files one commit on top of `parent` (none: the first), and say which.

        The same archive, parent and message give the same commit.
        """
        entries = await asyncio.to_thread(read_archive, archive, self._archive_limits)
        return await self._commit(repo_id, entries, message or f"Import of {archive.name}", parent)

    async def fetch_https(self, repo_id: str, url: str, ref: str | None = None) -> str:
        """Fetch from an https address: everything, or only `ref`; the commit of HEAD or of `ref`.

        Raises AddressRefused for what is not https, carries credentials, or leads into a private
        network.
        """
        pinned = await addresses.check_url(url, allow_private=self._allow_private)
        if ref is not None and not re.fullmatch(r"(HEAD|refs/[\w./-]+|[\w][\w./-]*)", ref):
            raise RepositoryError(f"{ref!r} is not the name of a branch, a tag or a commit")
        return await self._fetch(repo_id, url, ref, network=True, config=pinned)

    async def resolve(self, repo_id: str, revision: str) -> str:
        """The commit that `revision` names (`HEAD`: the source's). Raises RevisionUnknown."""
        git = self.git(repo_id)
        if not git.git_dir.is_dir():
            raise RevisionUnknown(f"repository {repo_id} has not been imported; import it first")
        name = (
            HEAD_REF + revision.removeprefix("HEAD")
            if re.match(r"HEAD(?![\w/.-])", revision)
            else revision
        )
        found = await git.run(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{name}^{{commit}}",
            check=False,
        )
        if found.exit_code != 0:
            raise RevisionUnknown(
                f"no commit {revision!r} in repository {repo_id}: "
                "a branch, a tag or HEAD of its source must lead to it"
            )
        return found.stdout.decode().strip()

    async def tree_of(self, repo_id: str, commit: str) -> str:
        """The tree of a commit. Asked of git once: of a full id the answer never changes.

        Raises CommitMissing.
        """
        now = self.incarnation(repo_id)
        if now is not None and (known := self._trees.get((repo_id, commit, now))) is not None:
            return known
        tree = await tree_of(self.git(repo_id), commit)
        if now is not None and OBJECT_ID.fullmatch(commit):
            if len(self._trees) >= _TREES_KEPT:
                self._trees.clear()
            self._trees[repo_id, commit, now] = tree
        return tree

    def incarnation(self, repo_id: str) -> Incarnation | None:
        """Which mirror this is; None: there is none.

        What is remembered of one that somebody has removed is not true of the one made after it.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            made = (self.git(repo_id).git_dir / _LAST_MADE).stat()
            return made.st_ino, made.st_mtime_ns
        return None

    async def _fetch(
        self, repo_id: str, url: str, ref: str | None, *, network: bool, config: dict[str, str]
    ) -> str:
        async with self.lock(repo_id) as git:
            listed = await git.run(
                "ls-remote", "--quiet", "--", url, network=network, config=config
            )
            head = _chosen(listed.stdout.decode(errors="replace").splitlines(), ref, self._max_refs)
            specs = (*_ALL_REFS, f"+{head}:{HEAD_REF}") if ref is None else (f"+{head}:{HEAD_REF}",)
            # What `take_commit` has left out of the history is part of it now.
            depth = "--unshallow" if (git.git_dir / "shallow").exists() else "--update-shallow"
            await git.run(*_FETCH, depth, "--", url, *specs, network=network, config=config)
            commit = await git.line("rev-parse", "--verify", f"{HEAD_REF}^{{commit}}")
            # a force-push must not lose what a run uses
            await git.run("update-ref", kept_ref(commit), commit)
            return commit

    async def _commit(
        self, repo_id: str, entries: list[Entry], message: str, parent: str | None
    ) -> str:
        async with self.lock(repo_id) as git:
            if parent is not None:
                parent = await self.resolve(repo_id, parent)
            ref = f"refs/vsc/new/{uuid.uuid4().hex}"
            await git.run(
                "fast-import",
                "--quiet",
                "--done",
                stdin=stream(Commit(ref, message, parent), entries),
            )
            commit = await git.line("rev-parse", "--verify", ref)
            moves = (
                f"update {kept_ref(commit)} {commit}\nupdate {HEAD_REF} {commit}\ndelete {ref}\n"
            )
            await git.run("update-ref", "--stdin", stdin=moves.encode())
            return commit

    async def take_snapshot(self, repo_id: str, commit: str, folder: Path) -> None:
        """Keep the tree of `commit` from `folder`, whose `.git` is the one of its snapshot."""
        url = "file://" + quote(str(folder))
        async with self.lock(repo_id) as git:
            spec = f"+{SNAPSHOT_REF}:{kept_ref(commit)}"
            await git.run(*_FETCH, "--", url, spec, config=_ACCEPTED)

    def every(self) -> list[str]:
        """The ids of the repositories that have a mirror."""
        return sorted(path.name.removesuffix(".git") for path in self._root.glob("*.git"))

    async def repack(self, repo_id: str) -> bool:
        """Make one pack of many small things, if there are many. Imports wait meanwhile.

        What no ref leads to is kept for two weeks: a run may just have made it.
        """
        async with self.lock(repo_id) as git:
            counted = await git.run("count-objects", "-v")
            told = dict(line.split(": ") for line in counted.stdout.decode().splitlines())
            if int(told["count"]) < _MANY_LOOSE and int(told["packs"]) < _MANY_PACKS:
                return False
            await git.run("gc", "--quiet", f"--prune={_UNREACHABLE_KEPT}")
        return True

    @contextlib.asynccontextmanager
    async def lock(self, repo_id: str) -> AsyncIterator[Git]:
        """The mirror, made if need be, while nobody else imports into it."""
        git = self.git(repo_id)
        async with file_lock(self._root / f"{repo_id}.lock"):
            if not (git.git_dir / _LAST_MADE).is_file():
                await git.create()
            yield git


@contextlib.asynccontextmanager
async def file_lock(path: Path) -> AsyncIterator[None]:
    """Hold `path` against other tasks and other processes.

    Waits by asking again, so that a wait can be cancelled.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not lock_descriptor(descriptor, blocking=False):  # noqa: ASYNC110 -- another process may hold it
            await asyncio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


async def _fetch_one(git: Git, path: Path, commit: str) -> None:
    url, spec = "file://" + quote(str(path)), f"+{commit}:{kept_ref(commit)}"
    try:
        await git.run(*_FETCH, "--depth=1", "--", url, spec)
    except GitFailed as failed:
        raise RepositoryError(
            f"{commit} cannot be taken from {path}: it is not there, or, in a partial clone, not"
            f" all of its files; then `git -C {path} archive {commit} > /dev/null` fetches them."
            f" {failed}"
        ) from failed


def _is_repository(path: Path) -> bool:
    if not path.is_dir():
        raise RepositoryError(
            f"{path} is not a directory; name a git repository, or a directory of sources"
        )
    return (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir())


def _chosen(listed: list[str], ref: str | None, max_refs: int) -> str:
    """The source's name for what we call HEAD, among the lines of ls-remote."""
    if len(listed) > max_refs:
        raise RepositoryError(
            f"the repository has {len(listed)} refs, more than {max_refs}; "
            "name the one that is wanted"
        )
    names = {line.partition("\t")[2] for line in listed}
    if ref is not None and OBJECT_ID.fullmatch(ref):
        return ref
    wanted = [ref, f"refs/heads/{ref}", f"refs/tags/{ref}"] if ref else ["HEAD"]
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise RevisionUnknown(
            f"the repository has no {ref or 'HEAD (it holds no commit, or its branch is gone)'}"
        )
    return found

"""The user's own repository: which commit is the base, and what the change is as a patch.

This is git as the user runs it, with the user's configuration, on the user's own files. Nothing of
the repository is
changed: indexes and objects that are made on the way lie in a temporary directory.
"""

import asyncio
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.cli.errors import UsageError

_DIFF = ("--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")

_SETTINGS = (
    "-c",
    "core.quotePath=true",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
)
"""Reading a repository starts none of its programs, but for its clean filters.

Without those its bytes would be others.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be judged: a commit, and a patch that applies to it."""

    repository: Path
    base_commit: str
    patch: bytes


async def change_of(
    repository: Path, base: str | None, *, head: str | None = None, patch: bytes | None = None
) -> Change:
    """The change that the options of `vsc check` describe.

    With `patch`: that patch, on `base` (HEAD). With `head`: from `base` to `head`; without a base,
    from where `head` left the main branch (its parent, if it is on it). With neither: what is
    uncommitted, untracked files included, against `base` (HEAD).

    Raises:
        UsageError: no repository, no such revision, an empty patch, a patch that does not apply.
    """
    git = await _Git.at(repository)
    if head is not None:
        head_commit = await git.commit(head)
        base_commit = await git.commit(base) if base else await git.left_main_at(head_commit, head)
        content = await git.run("diff", *_DIFF, base_commit, head_commit)
    else:
        base_commit = await git.commit(base or "HEAD")
        content = patch if patch is not None else await git.uncommitted(base_commit)
    if not content.strip():
        raise UsageError(
            "there is nothing to judge: the patch is empty. "
            "Change something, or name the change with --head or --patch."
        )
    if patch is not None:
        await git.check_applies(base_commit, patch)
    return Change(git.top, base_commit, content)


async def base_of(repository: Path, base: str | None) -> tuple[Path, str]:
    """The top of the repository, and the commit that a command is to start from.

    Raises UsageError.
    """
    git = await _Git.at(repository)
    return git.top, await git.commit(base or "HEAD")


@dataclass(frozen=True, slots=True)
class _Git:
    top: Path

    @classmethod
    async def at(cls, repository: Path) -> "_Git":
        if not await asyncio.to_thread(repository.is_dir):
            raise UsageError(f"{repository} is not a directory; name a git repository with --repo.")
        code, out, err = await _git(repository, "rev-parse", "--show-toplevel")
        if b"dubious ownership" in err:
            raise UsageError(
                f"{repository} belongs to another user, and git does not trust it; "
                "if you do, say so with: git config --global --add safe.directory "
                f"{shlex.quote(str(await asyncio.to_thread(repository.resolve)))}"
            )
        if code != 0:
            raise UsageError(
                f"{repository} is not a git repository with a work tree; "
                "`git init` and commit, or name another one."
            )
        _, kind, _ = await _git(repository, "rev-parse", "--show-object-format")
        if kind.strip() not in (b"sha1", b"--show-object-format"):
            raise UsageError(
                f"{repository} keeps its objects by {kind.decode().strip()}; "
                "only sha1 repositories can be judged: convert a clone."
            )
        return cls(Path(os.fsdecode(out.removesuffix(b"\n"))))

    async def commit(self, revision: str) -> str:
        code, out, _ = await _git(
            self.top,
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{revision}^{{commit}}",
        )
        if code != 0 and revision == "HEAD":
            raise UsageError(
                f"{self.top} has no commit yet; "
                "commit something that a change can be compared with."
            )
        if code != 0:
            raise UsageError(
                f"{revision!r} is no commit of {self.top}; `git log` shows what there is."
            )
        return out.decode().strip()

    async def left_main_at(self, head_commit: str, name: str) -> str:
        """Where `head_commit` left the main branch; its first parent, if it lies on that branch."""
        for main in ("refs/remotes/origin/HEAD", "refs/heads/main", "refs/heads/master"):
            code, out, _ = await _git(self.top, "merge-base", head_commit, main)
            if code == 0:
                found = out.decode().strip()
                return found if found != head_commit else await self.commit(f"{head_commit}^")
        raise UsageError(
            f"where {name} left the main branch cannot be told; name the commit with --base."
        )

    async def uncommitted(self, base_commit: str) -> bytes:
        """Tracked and untracked files as they are now, against `base_commit`; no ignored ones."""
        with tempfile.TemporaryDirectory(prefix="vsc-index-") as scratch:
            objects = (
                (await self.run("rev-parse", "--path-format=absolute", "--git-path", "objects"))
                .decode()
                .strip()
            )
            await asyncio.to_thread(Path(scratch, "objects").mkdir)
            private = {
                "GIT_INDEX_FILE": str(Path(scratch, "index")),
                "GIT_OBJECT_DIRECTORY": str(Path(scratch, "objects")),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(
                    filter(None, [objects, os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")])
                ),
            }
            await self.run("read-tree", "HEAD", environ=private)
            await self.run("add", "--all", "--", ".", environ=private)
            return await self.run("diff", "--cached", *_DIFF, base_commit, environ=private)

    async def check_applies(self, base_commit: str, patch: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="vsc-index-") as scratch:
            private = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
            await self.run("read-tree", base_commit, environ=private)
            code, _, err = await _git(
                self.top, "apply", "--cached", "--check", "-", environ=private, stdin=patch
            )
        if code != 0:
            why = err.decode(errors="replace").strip().splitlines()
            raise UsageError(
                f"the patch does not apply to {base_commit[:12]}: {'; '.join(why[:3])}. "
                "Make it anew, or name its base with --base."
            )

    async def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> bytes:
        code, out, err = await _git(self.top, *arguments, environ=environ)
        if code != 0:
            raise UsageError(
                f"git {arguments[0]} failed in {self.top}: "
                f"{err.decode(errors='replace').strip()[:500]}"
            )
        return out


async def _git(
    where: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> tuple[int, bytes, bytes]:
    command: Sequence[str] = ("git", "-C", str(where), *_SETTINGS, *arguments)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(environ or {})},
        )
    except FileNotFoundError:
        raise UsageError("git is not installed; install it and try again.") from None
    out, err = await process.communicate(stdin)
    return process.returncode or 0, out, err

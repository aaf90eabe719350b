# ruff: noqa: PTH114, PTH115, PTH116, PTH118, PTH211
# (paths here are bytes that need not be text, or longer than one call takes)
"""Small trees on disk, and the git repositories that they are compared with."""

import io
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runners.changes import CHANGES, PATCH, Changes, changes_from_json
from runners.dehydrate import collect
from runners.tree_rules import PatchLimits

GIT_ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}

Files = dict[bytes, tuple[str, bytes]]
"""Path -> git's mode and the contents (a link's target)."""


def git(*arguments: str, cwd: Path, stdin: bytes = b"", check: bool = True) -> bytes:
    """Git, as a test's own tool."""
    return subprocess.run(
        ("git", *arguments), cwd=cwd, env=GIT_ENVIRON, input=stdin, check=check, capture_output=True
    ).stdout


def write_tree(root: Path, files: Files) -> None:
    """Put `files` below `root`."""
    for path, (mode, contents) in files.items():
        write_file(root, path, mode, contents)


def write_file(root: Path, path: bytes, mode: str, contents: bytes) -> None:
    target = Path(os.fsdecode(os.fsencode(root) + b"/" + path))
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == "120000":
        os.symlink(contents, os.fsencode(target))
    else:
        target.write_bytes(contents)
        target.chmod(0o755 if mode == "100755" else 0o644)


def read_tree(root: Path) -> Files:
    """What `write_tree` would have written."""
    found: Files = {}
    for directory, directories, names in os.walk(os.fsencode(root)):
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in names + links:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, os.fsencode(root))
            if relative.startswith(b".git/"):
                continue
            if os.path.islink(path):
                found[relative] = ("120000", os.readlink(path))
            else:
                mode = "100755" if os.stat(path).st_mode & 0o100 else "100644"
                found[relative] = (mode, Path(os.fsdecode(path)).read_bytes())
    return found


def tree_id(repository: Path, files: Files) -> str:
    """Make `files` a tree object of the bare `repository`; its id."""
    lines = []
    for path, (mode, contents) in files.items():
        blob = git("hash-object", "-w", "--stdin", cwd=repository, stdin=contents).strip()
        lines.append(b"%s %s\t%s\0" % (mode.encode(), blob, path))
    index = repository / "index"
    index.unlink(missing_ok=True)
    git("update-index", "-z", "--index-info", cwd=repository, stdin=b"".join(lines))
    return git("write-tree", cwd=repository).decode().strip()


def bare(directory: Path) -> Path:
    git("init", "-q", "--bare", str(directory), cwd=directory.parent)
    return directory


@dataclass
class Bench:
    """A snapshot's git directory, its tree `against`, and the workspace that a sandbox has left."""

    home: Path
    base: Files

    def __post_init__(self) -> None:
        (self.home / "snapshot").mkdir()
        self.repository = bare(self.home / "snapshot/.git")
        self.against = tree_id(self.repository, self.base)
        self.workspace = self.home / "workspace"
        self.workspace.mkdir()
        write_tree(self.workspace, self.base)

    def snapshot(self) -> Path:
        """The directory whose `.git` has one commit: that of `against`."""
        commit = git("commit-tree", self.against, "-m", "base", cwd=self.repository)
        (self.repository / "refs/heads/main").write_bytes(commit)
        return self.repository.parent

    def collect(
        self,
        changed: set[bytes] | None = None,
        limits: PatchLimits | None = None,
        delta: bytes | None = None,
        *,
        from_base: bool = True,
    ) -> tuple[bytes, Changes]:
        """The patch and the document."""
        into = self.home / f"into-{len(list(self.home.iterdir()))}"
        into.mkdir()
        collect(
            self.snapshot(),
            None if delta is None else io.BytesIO(delta),
            self.workspace,
            changed,
            into,
            limits or PatchLimits(),
            from_base=from_base,
        )
        return (into / PATCH).read_bytes(), changes_from_json((into / CHANGES).read_bytes())

    def applied(self, patch: bytes) -> tuple[Files, str]:
        """A clean checkout of the base with the patch on it: its files, and its index's tree id."""
        clean = self.home / f"clean-{len(list(self.home.iterdir()))}"
        clean.mkdir()
        git("init", "-q", cwd=clean)
        (clean / ".git/objects/info/alternates").write_text(f"{self.repository}/objects\n")
        (clean / ".git/info/attributes").write_text(
            "* !text !eol !ident !filter !working-tree-encoding\n"
        )
        git("read-tree", self.against, cwd=clean)
        git("checkout-index", "-a", "-f", cwd=clean)
        git("update-index", "-q", "--refresh", cwd=clean, check=False)
        if patch:
            git("apply", "--index", "--whitespace=nowarn", cwd=clean, stdin=patch)
        return read_tree(clean), git("write-tree", cwd=clean).decode().strip()

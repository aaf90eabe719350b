"""A git directory of our own, for one use: no configuration, hook, attribute or filter of anybody else reaches it."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = {bare}
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tfsmonitor = false
\tquotePath = true
[diff]
\talgorithm = myers
\tindentHeuristic = true
"""
_ATTRIBUTES = "* !diff !text !crlf !eol !ident !filter !merge !working-tree-encoding !whitespace\n"
"""The highest-ranking attributes of all, so files in a tree cannot say how git treats their neighbours."""


class GitFailed(Exception):
    """Git did not do what it always can; the message holds its words."""


class PrivateGit:
    """Runs git with `scratch` as its only home. `objects` is read, never written."""

    def __init__(
        self, scratch: Path, objects: Path | None = None, work_tree: Path | None = None
    ) -> None:
        self.directory = scratch / "git"
        for name in ("objects/info", "refs", "info"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "HEAD").write_text("ref: refs/heads/none\n")
        (self.directory / "config").write_text(
            _CONFIG.format(bare="false" if work_tree else "true")
        )
        (self.directory / "info/attributes").write_text(_ATTRIBUTES)
        if objects is not None:
            (self.directory / "objects/info/alternates").write_bytes(
                os.fsencode(objects.resolve()) + b"\n"
            )
        self._environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "LC_ALL": "C",
            "GIT_DIR": str(self.directory),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_PAGER": "cat",
            "GIT_CEILING_DIRECTORIES": "/",
        }
        self._cwd = work_tree or self.directory
        if work_tree is not None:
            self._environ["GIT_WORK_TREE"] = str(work_tree)

    def start(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run git to its end; the exit code is a value."""
        return subprocess.run(
            ("git", *arguments),
            input=stdin,
            capture_output=True,
            check=False,
            cwd=self._cwd,
            env=self._environ,
        )

    def run(self, *arguments: str, stdin: bytes = b"", accept: Iterable[int] = (0,)) -> bytes:
        """Git's standard output. Raises GitFailed on an exit code that is not in `accept`."""
        done = self.start(*arguments, stdin=stdin)
        if done.returncode not in accept:
            raise GitFailed(
                f"git {arguments[0]} ended with {done.returncode}: {done.stderr[:2000].decode(errors='replace')}"
            )
        return done.stdout

    def open(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Git as a process to talk to."""
        return subprocess.Popen(
            ("git", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._cwd,
            env=self._environ,
        )

    def write_to(self, path: Path, *arguments: str) -> None:
        """Git's standard output into a file that is new. Raises GitFailed."""
        with path.open("xb") as file:
            done = subprocess.run(
                ("git", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.PIPE,
                check=False,
                cwd=self._cwd,
                env=self._environ,
            )
        if done.returncode != 0:
            raise GitFailed(
                f"git {arguments[0]} ended with {done.returncode}: {done.stderr[:2000].decode(errors='replace')}"
            )

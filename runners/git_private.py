"""A git directory of our own, for one use.

No configuration, hook, attribute or filter of anybody else reaches it, and each git has limits.
"""

import os
import resource
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

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
"""The highest-ranking attributes of all: no file in a tree says how git treats its neighbours."""

TIME_S = 60.0
MEMORY_BYTES = 768 * 2**20
"""Address space: 50 MiB of text lines fit; 32 MiB of nothing but newlines would take 1.4 GiB."""
FILE_BYTES = 512 * 2**20
"""The largest file that git may write, a patch included."""


class GitFailed(Exception):
    """Git did not do what it always can; the message holds its words."""


class GitLimit(Exception):
    """What git was given is too much for it; the message says in what."""


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

    def start(
        self, *arguments: str, stdin: bytes = b"", stdout: int | IO[bytes] = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git to its end; the exit code is a value. Raises GitLimit."""
        with subprocess.Popen(
            ("git", *arguments),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=self._cwd,
            env=self._environ,
        ) as process:
            _limit(process)
            try:
                out, errors = process.communicate(stdin, TIME_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise GitLimit(f"git {arguments[0]} took longer than {TIME_S:g} s") from None
        if process.returncode == -signal.SIGXFSZ:
            raise GitLimit(f"git {arguments[0]} wrote more than {FILE_BYTES} bytes")
        if process.returncode and any(word in errors for word in _NO_MEMORY):
            raise GitLimit(f"git {arguments[0]} needed more than {MEMORY_BYTES} bytes of memory")
        return subprocess.CompletedProcess(arguments, process.returncode, out or b"", errors)

    def run(self, *arguments: str, stdin: bytes = b"", accept: Iterable[int] = (0,)) -> bytes:
        """Git's standard output. Raises GitFailed on an exit code that is not in `accept`."""
        done = self.start(*arguments, stdin=stdin)
        if done.returncode not in accept:
            raise _failed(arguments[0], done)
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
        """Git's standard output into a file that is new. Raises GitFailed and GitLimit."""
        with path.open("xb") as file:
            done = self.start(*arguments, stdout=file)
        if done.returncode != 0:
            raise _failed(arguments[0], done)


_NO_MEMORY = (b"ut of memory", b"Cannot allocate memory", b"unable to create thread")


def _limit(process: "subprocess.Popen[bytes]") -> None:
    """From outside: code between fork and exec is not safe in a process with threads."""
    with suppress(ProcessLookupError):  # it has ended already
        resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))


def _failed(verb: str, done: subprocess.CompletedProcess[bytes]) -> GitFailed:
    words = done.stderr[:2000].decode(errors="replace")
    return GitFailed(f"git {verb} ended with {done.returncode}: {words}")

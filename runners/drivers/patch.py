"""The driver that puts a given change on the workspace, exactly or not at all."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from runners.drivers import Surroundings
from runners.git_private import PrivateGit

_MOVED = re.compile(rb"^Hunk #\d+ succeeded at \d+ \(offset", re.MULTILINE)


def apply_patch(surroundings: Surroundings) -> int:
    """Apply the patch with git: binary-safe, no fuzz, no moved hunks, no attribute of the workspace heeded.

    Git's exit code; its words go to the log. An empty patch changes nothing and is no failure.
    """
    if surroundings.patch.stat().st_size == 0:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        git = PrivateGit(Path(scratch), work_tree=surroundings.workspace)
        apply = ("apply", "--whitespace=nowarn")
        check = git.start(*apply, "--check", "--verbose", str(surroundings.patch))
        if check.returncode != 0 or _MOVED.search(check.stderr):
            _pass_on(check)
            surroundings.explain("the patch does not apply exactly")
            return check.returncode or 1
        done = git.start(*apply, str(surroundings.patch))
        _pass_on(done)
        return done.returncode


def _pass_on(done: subprocess.CompletedProcess[bytes]) -> None:
    for words in (done.stdout, done.stderr):
        sys.stderr.buffer.write(words)
    sys.stderr.buffer.flush()

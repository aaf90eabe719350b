"""Checkouts to compare: this one, and an older commit under `build/against/` with all of its own.

The older one has its own virtual environment, of its own `requirements/dev.txt`, and its own runner
images where they are missing: its `scripts/setup` sees to both.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import ARCHIVES, ROOT
from benchmarks.paired import say


class CommitUnknown(Exception):
    """The clone lacks the commit: name another one, or fetch it."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A commit with a virtual environment."""

    name: str
    root: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.root / ".venv" / "bin" / "python"

    @property
    def vsc(self) -> Path:
        """Its command line."""
        return self.root / ".venv" / "bin" / "vsc"


def here() -> Checkout:
    """What is checked out here, with what is not committed."""
    return Checkout("now", ROOT)


def older(commit: str, repository: Path = ROOT) -> Checkout:
    """That commit of `repository`, set up. Minutes the first time, a second later.

    Raises:
        CommitUnknown: the clone lacks it.
    """
    full = _resolved(repository, commit)
    root = repository / "build" / "against" / full[:12]
    if not root.exists():
        _make(repository, full, root)
    say(f"setting up {root}")
    subprocess.run([root / "scripts" / "setup"], check=True, stdout=sys.stderr)
    if ARCHIVES.is_dir():  # of two checkouts, one asks the package index
        shutil.copytree(ARCHIVES, root / "build" / "archives", dirs_exist_ok=True)
    return Checkout(commit, root)


def _resolved(repository: Path, commit: str) -> str:
    asked = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"]
    found = subprocess.run(
        asked, cwd=repository, check=False, stdout=subprocess.PIPE, encoding="ascii"
    )
    if found.returncode != 0:
        raise CommitUnknown(
            f"this clone has no commit {commit}: name another one, or fetch it"
            " (`git fetch --unshallow` where the clone is shallow)"
        )
    return found.stdout.strip()


def _make(repository: Path, commit: str, root: Path) -> None:
    """Aside first, so that one that was cut short is never taken for whole."""
    fresh = root.with_name(f"{root.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    clone = ["git", "clone", "--quiet", "--no-checkout"]
    subprocess.run([*clone, str(repository), str(fresh)], check=True)
    subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=fresh, check=True)
    fresh.rename(root)

"""An older checkout is that commit, whole, and sets itself up."""

import pytest

from benchmarks.checkout import CommitUnknown, older
from benchmarks.material import git

SETUP = '#!/bin/sh\ncd "$(dirname "$0")/.."\necho told >> ready\n'


@pytest.fixture
def repository(tmp_path):
    """Two commits, whose `scripts/setup` notes that it ran."""
    root = tmp_path / "clone"
    (root / "scripts").mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "scripts" / "setup").write_text(SETUP)
    (root / "scripts" / "setup").chmod(0o755)
    for text in ("old", "new"):
        (root / "version").write_text(text)
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", text)
    return root


def first(repository):
    return git(repository, "rev-parse", "HEAD~1").decode().strip()


def test_it_is_the_commit_that_was_named_and_leaves_ours_alone(repository):
    made = older(first(repository), repository)

    assert (made.root / "version").read_text() == "old"
    assert (repository / "version").read_text() == "new"
    assert made.vsc == made.root / ".venv" / "bin" / "vsc"


def test_it_is_made_once_and_set_up_every_time(repository):
    """A second call finds what the first one made, also what its set-up has left."""
    made = older(first(repository)[:10], repository)
    again = older(first(repository), repository)

    assert again.root == made.root
    assert (made.root / "ready").read_text() == "told\ntold\n"


def test_one_that_was_cut_short_is_made_anew(repository):
    left = repository / "build" / "against" / f"{first(repository)[:12]}.new"
    left.mkdir(parents=True)
    (left / "half").touch()

    made = older(first(repository), repository)

    assert (made.root / "version").read_text() == "old"
    assert not (made.root / "half").exists()


@pytest.mark.parametrize("commit", ["0" * 40, "no-such-branch", "--help"])
def test_a_commit_that_the_clone_lacks_is_told_with_what_to_do(repository, commit):
    with pytest.raises(CommitUnknown, match="name another one, or fetch it"):
        older(commit, repository)

    assert not (repository / "build").exists()

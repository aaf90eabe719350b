"""The change that `vsc check` judges, from real repositories."""

import asyncio
import os
import subprocess

import pytest

from control_plane.cli.errors import UsageError
from control_plane.cli.worktree import base_of, change_of


class Repository:
    def __init__(self, path):
        self.path = path
        self.git("init", "-q", "-b", "main")
        self.write("a.py", "a = 1\n")
        self.first = self.commit()

    def git(self, *arguments):
        command = [
            "git",
            "-C",
            str(self.path),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            *arguments,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, name, text):
        (self.path / name).write_text(text)

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "a commit")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


async def test_uncommitted_work_is_the_change_with_untracked_files_and_without_ignored_ones(
    repository,
):
    repository.write("a.py", "a = 2\n")
    repository.write("new.bin", "\x00\x01")
    repository.write(".gitignore", "*.log\n")
    repository.write("x.log", "no\n")
    repository.git("add", "a.py")
    objects = repository.git("count-objects", "-v")
    status = repository.git("status", "--porcelain")

    change = await change_of(repository.path, None)

    assert change.base_commit == repository.first
    assert b"+a = 2" in change.patch
    assert b"new.bin" in change.patch
    assert b"x.log" not in change.patch
    assert repository.git("status", "--porcelain") == status  # the index is the user's own
    assert repository.git("count-objects", "-v") == objects


async def test_a_deletion_and_a_change_of_mode_are_part_of_the_change(repository):
    repository.write("b.sh", "true\n")
    repository.commit()
    (repository.path / "a.py").unlink()
    (repository.path / "b.sh").chmod(0o755)

    patch = (await change_of(repository.path, None)).patch

    assert b"deleted file mode" in patch
    assert b"new mode 100755" in patch


async def test_a_branch_is_judged_from_where_it_left_main(repository):
    repository.git("checkout", "-q", "-b", "topic")
    repository.write("t.py", "t = 1\n")
    topic = repository.commit()
    repository.git("checkout", "-q", "main")
    repository.write("m.py", "m = 1\n")
    repository.commit()

    change = await change_of(repository.path, None, head="topic")

    assert change.base_commit == repository.first
    assert b"t.py" in change.patch
    assert b"m.py" not in change.patch
    assert (await change_of(repository.path, "main", head=topic)).base_commit == repository.git(
        "rev-parse", "main"
    )


async def test_a_commit_on_main_is_judged_from_its_parent(repository):
    repository.write("a.py", "a = 2\n")
    second = repository.commit()

    assert (await change_of(repository.path, None, head=second)).base_commit == repository.first


async def test_a_subdirectory_stands_for_its_repository(repository):
    (repository.path / "sub").mkdir()
    repository.write("sub/c.py", "c = 1\n")
    repository.write("a.py", "a = 3\n")

    change = await change_of(repository.path / "sub", None)

    assert b"a = 3" in change.patch
    assert (await base_of(repository.path / "sub", None))[0] == change.repository


async def test_a_patch_is_taken_as_it_is_when_it_applies(repository):
    repository.write("a.py", "a = 2\n")
    patch = (await change_of(repository.path, None)).patch
    repository.git("checkout", "-q", "a.py")

    assert (await change_of(repository.path, None, patch=patch)).patch == patch
    assert repository.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "nothing to judge"),
        ({"base": "no-such"}, "no commit"),
        ({"base": "--help"}, "no commit"),
        ({"head": "no-such"}, "no commit"),
        ({"head": "HEAD", "base": "HEAD"}, "nothing to judge"),
        ({"patch": b" \n"}, "nothing to judge"),
        ({"patch": b"not a patch\n"}, "does not apply"),
        ({"patch": b"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-z = 1\n+z = 2\n"}, "does not apply"),
    ],
)
async def test_what_cannot_be_judged_is_the_callers_to_mend(repository, arguments, says):
    with pytest.raises(UsageError, match=says):
        await change_of(repository.path, arguments.pop("base", None), **arguments)


async def test_a_directory_that_is_no_repository_says_so(tmp_path):
    with pytest.raises(UsageError, match="not a git repository"):
        await change_of(tmp_path, None)
    with pytest.raises(UsageError, match="not a directory"):
        await change_of(tmp_path / "nowhere", None)


async def test_a_repository_without_a_commit_has_no_head(tmp_path):
    subprocess.run(["git", "-C", str(tmp_path), ("init"), "-q"], check=True)  # noqa: ASYNC221 -- set-up

    with pytest.raises(UsageError, match="no commit"):
        await change_of(tmp_path, None)


async def test_reading_a_repository_starts_no_program_that_it_names(repository):
    hooks = repository.path / "hooks"
    hooks.mkdir()
    (hooks / "post-index-change").write_text(f"#!/bin/sh\ntouch {repository.path}/ran-hook\n")
    (hooks / "post-index-change").chmod(0o755)
    repository.git("config", "core.hooksPath", str(hooks))
    repository.git("config", "core.fsmonitor", f"touch {repository.path}/ran-monitor; false")
    repository.git("config", "diff.external", f"touch {repository.path}/ran-diff")
    repository.write("a.py", "a = 2\n")

    await change_of(repository.path, None)

    assert not list(repository.path.glob("ran-*"))


def test_a_repository_without_a_commit_says_so(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)

    with pytest.raises(UsageError, match="no commit yet"):
        asyncio.run(change_of(tmp_path, None))


def test_a_repository_of_another_hash_is_refused_in_words(tmp_path):
    subprocess.run(["git", "init", "-q", "--object-format=sha256", tmp_path], check=True)

    with pytest.raises(UsageError, match="sha256; only sha1"):
        asyncio.run(change_of(tmp_path, None))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
async def test_a_repository_of_somebody_else_says_how_to_trust_it(repository, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("SUDO_UID", raising=False)
    for path in (repository.path, repository.path / ".git"):
        os.chown(path, 65534, 65534)

    with pytest.raises(UsageError, match=r"safe\.directory"):
        await change_of(repository.path, None)

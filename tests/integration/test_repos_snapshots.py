"""Base snapshots: one commit, exact bytes, made once, never half-made."""

import asyncio
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from control_plane.repos.git import RepositoryError
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots

UID = 10001 if os.geteuid() == 0 else os.geteuid()
FILES = {
    ".gitattributes": b"*.txt eol=crlf\n*.py ident\n*.x filter=lfs\n*.u working-tree-encoding=UTF-16\n", "a.txt": b"1\n2\n", "b.py": b"# $Id$\n",
    "c.x": b"x\n", "d.u": b"u\n", "crlf": b"a\r\n", "sub/deep/e": b"", ".gitignore": b"ignored\n", "ignored": b"tracked all the same\n",
}  # fmt: skip


@pytest.fixture
def mirrors(tmp_path):
    return Mirrors(tmp_path / "repos")


@pytest.fixture
def snapshots(tmp_path, mirrors):
    return Snapshots(tmp_path / "snapshots", mirrors, UID)


def archive(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"top/{name}")
            info.size, info.mode = len(content), 0o755 if name == "b.py" else 0o644
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("top/link")
        link.type, link.linkname = tarfile.SYMTYPE, "sub/deep/e"
        tar.addfile(link)
    return path


@pytest.fixture
async def commits(mirrors, tmp_path):
    base = await mirrors.import_archive("r", archive(tmp_path / "1.tar", FILES))
    return base, await mirrors.import_archive(
        "r", archive(tmp_path / "2.tar", FILES | {"future": b"f"}), parent=base
    )


def git(tree, *arguments):
    command = ["git", "-c", "safe.directory=*", "-C", str(tree), *arguments]
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    ).stdout


async def test_the_tree_has_the_bytes_the_links_and_the_modes(snapshots, commits):
    tree = snapshots.path(await snapshots.ensure("r", commits[0]))

    found = {
        str(path.relative_to(tree)): path
        for path in tree.rglob("*")
        if ".git" not in path.relative_to(tree).parts
    }
    assert {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file() and not path.is_symlink()
    } == FILES
    assert (tree / "link").readlink() == Path("sub/deep/e")
    assert stat.S_IMODE((tree / "b.py").stat().st_mode) == 0o755
    assert stat.S_IMODE((tree / "a.txt").stat().st_mode) == 0o644
    assert {path.lstat().st_uid for path in tree.rglob("*")} == {UID}


async def test_the_agents_git_knows_one_commit_and_nothing_else(snapshots, commits):
    tree = snapshots.path(await snapshots.ensure("r", commits[1]))

    assert git(tree, "status", "--porcelain", "--ignored") == ""
    assert git(tree, "rev-list", "--all", "--reflog", "--count").strip() == "1"
    assert git(tree, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/main"]
    assert git(tree, "remote") == git(tree, "stash", "list") == git(tree, "tag") == ""
    reachable = set(git(tree, "rev-list", "--all", "--objects", "--no-object-names").split())
    there = {
        line.split()[0]
        for line in git(tree, "cat-file", "--batch-all-objects", "--batch-check").splitlines()
    }
    assert there == reachable
    assert not (tree / ".git" / "objects" / "info" / "alternates").exists()
    assert b"/snapshots/" not in b"".join(
        path.read_bytes() for path in (tree / ".git").rglob("*") if path.is_file()
    )


async def test_the_index_is_fresh_no_file_is_read_again(snapshots, commits):
    tree = snapshots.path(await snapshots.ensure("r", commits[0]))

    file, before = tree / "a.txt", (tree / "a.txt").stat()
    file.write_bytes(b"3\n4\n")  # of the same size
    assert git(tree, "status", "--porcelain") == " M a.txt\n"
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    fresh = await snapshots.ensure("r", commits[1])
    (snapshots.path(fresh) / "a.txt").write_bytes(b"3\n4\n")
    os.utime(snapshots.path(fresh) / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (
        git(snapshots.path(fresh), "status", "--porcelain") == ""
    )  # its time and size were believed: no entry is racy


async def test_two_makers_give_equal_trees(tmp_path, mirrors, commits):
    found = []
    for place in ["one", "two"]:
        snapshots = Snapshots(tmp_path / place, mirrors, UID)
        tree = snapshots.path(await snapshots.ensure("r", commits[0]))
        found.append({
            str(path.relative_to(tree)): (path.lstat().st_mode, path.lstat().st_mtime_ns if path.name != "index" else 0,
                                          path.read_bytes() if path.is_file() and path.name != "index" else b"")
            for path in tree.rglob("*")
        })  # fmt: skip

    assert found[0] == found[1]  # the index holds inode numbers


async def test_it_is_made_once_for_all_who_ask(tmp_path, mirrors, commits, monkeypatch):
    made = []
    original = Snapshots._fill

    async def counted(self, *arguments):
        made.append(1)
        await original(self, *arguments)

    monkeypatch.setattr(Snapshots, "_fill", counted)
    makers = [Snapshots(tmp_path / "snapshots", mirrors, UID) for _ in range(4)]

    keys = await asyncio.gather(*(maker.ensure("r", commits[0]) for maker in makers))

    assert len(set(keys)) == 1
    assert made == [1]


async def test_a_maker_that_dies_leaves_nothing_that_counts(
    snapshots, commits, tmp_path, monkeypatch
):
    original = Snapshots._fill

    async def dies(self, mirror, commit, tree):
        await original(self, mirror, commit, tree)
        raise OSError("disk full")

    monkeypatch.setattr(Snapshots, "_fill", dies)
    with pytest.raises(OSError, match="disk full"):
        await snapshots.ensure("r", commits[0])
    assert not snapshots.path(f"snapshots/r/{commits[0]}").exists()
    monkeypatch.setattr(Snapshots, "_fill", original)
    left = tmp_path / "snapshots" / "r" / f".{commits[0]}-killed"  # what kill -9 leaves
    left.mkdir()

    await snapshots.ensure("r", commits[0])

    assert not left.exists()
    assert snapshots.path(f"snapshots/r/{commits[0]}").is_dir()


@pytest.mark.parametrize(
    "key",
    ["snapshots/r/HEAD", "snapshots/../r/" + "0" * 40, "environments/" + "0" * 64, "snapshots/r"],
)
def test_a_key_that_is_not_ours_is_refused(snapshots, key):
    with pytest.raises(RepositoryError):
        snapshots.path(key)

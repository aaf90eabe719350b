"""Base snapshots: one commit, exact bytes, made once, never half-made."""

import asyncio
import io
import os
import shutil
import stat
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.repos.change_reader import ChangeReader
from control_plane.repos.git import RepositoryError
from control_plane.repos.heads import Heads
from control_plane.repos.kept import CommitMissing
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.models import Repo, Snapshot
from control_plane.repos.snapshot_archive import write_snapshot
from control_plane.repos.snapshots import Snapshots
from control_plane.repos.trees import Trees
from runners.changes import changes_from_json
from runners.dehydrate import collect
from runners.tree_rules import PatchLimits
from runners.unpack import unpack
from sandboxes.tree_cache import TreeCache

PATCH = b"""\
diff --git a/a.txt b/a.txt
--- a/a.txt
+++ b/a.txt
@@ -1,2 +1,3 @@
 1
 2
+3
diff --git a/new b/new
new file mode 100644
--- /dev/null
+++ b/new
@@ -0,0 +1 @@
+new
"""
UID = 10001 if os.geteuid() == 0 else os.geteuid()
FILES = {
    ".gitattributes": (
        b"*.txt eol=crlf\n*.py ident\n*.x filter=lfs\n*.u working-tree-encoding=UTF-16\n"
    ),
    "a.txt": b"1\n2\n",
    "b.py": b"# $Id$\n",
    "c.x": b"x\n",
    "d.u": b"u\n",
    "crlf": b"a\r\n",
    "sub/deep/e": b"",
    ".gitignore": b"ignored\n",
    "ignored": b"tracked all the same\n",
}


@pytest.fixture
def mirrors(tmp_path):
    return Mirrors(tmp_path / "repos")


@pytest.fixture
def depot(tmp_path):
    return LocalDepot(DirectoryBlobs(tmp_path / "blobs"))


@pytest.fixture
async def repo(sessions):
    async with sessions.begin() as session:
        session.add(row := Repo(key="r", source="a test"))
        await session.flush()
        return row.id


@pytest.fixture
def snapshots(sessions, mirrors, depot, tmp_path):
    return Snapshots(sessions, mirrors, depot, tmp_path / "locks")


@pytest.fixture
def unpacked_in(depot, tmp_path):
    """The tree of a snapshot as a provider has it."""
    cache = TreeCache(tmp_path / "cache", depot, unpack, 2**30)
    return lambda blob, user="u": cache.use([blob], UID, user)


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
async def commits(mirrors, tmp_path, repo):
    base = await mirrors.import_archive(repo.hex, archive(tmp_path / "1.tar", FILES))
    return base, await mirrors.import_archive(
        repo.hex, archive(tmp_path / "2.tar", FILES | {"future": b"f"}), parent=base
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


async def test_the_tree_has_the_bytes_the_links_and_the_modes(
    snapshots, commits, repo, unpacked_in
):
    tree = unpacked_in(await snapshots.ensure(repo, commits[0]))

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


async def test_the_agents_git_knows_one_commit_and_nothing_else(
    snapshots, commits, repo, unpacked_in
):
    tree = unpacked_in(await snapshots.ensure(repo, commits[1]))

    assert git(tree, "status", "--porcelain", "--ignored") == ""
    assert git(tree, "fsck", "--strict", "--full") == ""
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
    (tree / "a.txt").write_text("an agent's work\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    git(tree, *who, "commit", "--quiet", "--all", "-m", "work")
    assert git(tree, "log", "--format=%s").splitlines()[0] == "work"


async def test_the_index_is_fresh_no_file_is_read_again(snapshots, commits, repo, unpacked_in):
    tree = unpacked_in(await snapshots.ensure(repo, commits[0]))
    file, before = tree / "a.txt", (tree / "a.txt").stat()
    file.write_bytes(b"3\n4\n")  # of the same size
    assert git(tree, "status", "--porcelain") == " M a.txt\n"

    tree = unpacked_in(await snapshots.ensure(repo, commits[1]))
    (tree / "a.txt").write_bytes(b"3\n4\n")
    os.utime(tree / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    # its time and size were believed: no entry is racy
    assert git(tree, "status", "--porcelain") == ""


async def test_two_makers_give_equal_bytes_whatever_the_mirrors_packs_look_like(
    mirrors, commits, repo
):
    async def made():
        into = io.BytesIO()
        await write_snapshot(mirrors.git(repo.hex), commits[1], into)
        return into.getvalue()

    before = await made()
    await mirrors.git(repo.hex).run("repack", "-a", "-d", "--window=50", "-f")

    assert await made() == before


async def test_a_submodule_is_an_empty_directory_and_the_status_is_clean(
    mirrors, repo, commits, snapshots, unpacked_in
):
    mirror = mirrors.git(repo.hex)
    tree = await mirror.line(
        "mktree", "--missing", stdin=b"160000 commit " + b"1" * 40 + b"\tvendored\n"
    )
    commit = await mirror.line("commit-tree", tree, "-m", "with a submodule")

    found = unpacked_in(await snapshots.ensure(repo, commit))

    assert list((found / "vendored").iterdir()) == []
    assert git(found, "status", "--porcelain") == ""


async def test_a_commit_without_files_has_a_snapshot(
    mirrors, repo, commits, snapshots, unpacked_in
):
    mirror = mirrors.git(repo.hex)
    commit = await mirror.line("commit-tree", await mirror.line("mktree"), "-m", "empty")

    tree = unpacked_in(await snapshots.ensure(repo, commit))

    assert [path.name for path in tree.iterdir()] == [".git"]
    assert git(tree, "status", "--porcelain") == ""


async def test_the_patch_needs_nothing_but_the_unpacked_snapshot(
    mirrors, repo, commits, snapshots, unpacked_in, tmp_path
):
    """No mirror is left, and no database is asked: it can be made in another container."""
    base = unpacked_in(await snapshots.ensure(repo, commits[0]))
    shutil.copytree(base, tmp_path / "tree", symlinks=True)
    (tmp_path / "tree" / "a.txt").write_bytes(b"1\n2\n3\n")
    (tmp_path / "tree" / "new").write_bytes(b"new\n")
    wanted = await Trees(mirrors).apply_patch(repo.hex, commits[0], PATCH)
    shutil.rmtree(tmp_path / "repos")
    (tmp_path / "into").mkdir()

    collect(base, None, tmp_path / "tree", None, tmp_path / "into", PatchLimits())

    assert changes_from_json((tmp_path / "into" / "changes.json").read_bytes()).tree == wanted


async def test_a_mirror_that_was_removed_is_taken_again_also_by_who_knew_it(
    mirrors, repo, commits, snapshots, tmp_path
):
    trees = Trees(mirrors)
    store = DirectoryBlobs(tmp_path / "blobs")
    heads = Heads(trees, ThreadedBlobs(store))
    patch = store.put(io.BytesIO(PATCH), 1000).sha256
    await snapshots.ensure(repo, commits[0])
    head = await heads.made(repo.hex, commits[0], patch)
    await heads.here(repo.hex, commits[0], head, patch)
    shutil.rmtree(tmp_path / "repos" / f"{repo.hex}.git")

    await snapshots.here(repo, commits[0])
    await heads.here(repo.hex, commits[0], head, patch)

    assert await trees.has(repo.hex, head)


async def test_it_is_made_once_for_all_who_ask(
    sessions, mirrors, depot, commits, repo, tmp_path, monkeypatch
):
    made = []
    original = Snapshots._made

    async def counted(self, *arguments):
        made.append(1)
        return await original(self, *arguments)

    monkeypatch.setattr(Snapshots, "_made", counted)
    makers = [Snapshots(sessions, mirrors, depot, tmp_path / "locks") for _ in range(4)]

    blobs = await asyncio.gather(*(maker.ensure(repo, commits[0]) for maker in makers))

    assert len(set(blobs)) == 1
    assert made == [1]


async def test_it_is_made_anew_where_its_blob_is_gone(snapshots, commits, repo, depot, tmp_path):
    blob = await snapshots.ensure(repo, commits[0])
    shutil.rmtree(tmp_path / "blobs")
    (tmp_path / "blobs").mkdir()

    assert await snapshots.ensure(repo, commits[0]) == blob
    depot.open(blob).close()


async def test_asking_for_one_is_remembered(snapshots, sessions, commits, repo):
    await snapshots.ensure(repo, commits[0])
    async with sessions.begin() as session:
        await session.execute(update(Snapshot).values(used_at=datetime(2020, 1, 1, tzinfo=UTC)))

    await snapshots.ensure(repo, commits[0])

    async with sessions() as session:
        assert (await session.scalar(select(Snapshot.used_at))).year > 2020


@pytest.mark.parametrize("commit", ["HEAD", "main", "0" * 39, ""])
async def test_what_is_no_full_id_is_refused(snapshots, repo, commit):
    with pytest.raises(RepositoryError, match="resolve it first"):
        await snapshots.ensure(repo, commit)


@pytest.fixture
def elsewhere(sessions, depot, tmp_path):
    """The mirrors and snapshots of another home, over the same database and blobs."""
    mirrors = Mirrors(tmp_path / "elsewhere")
    return mirrors, Snapshots(sessions, mirrors, depot, tmp_path / "other-locks")


async def test_another_home_has_the_commit_from_its_archive(
    mirrors, snapshots, commits, repo, elsewhere, depot
):
    """All that a run reads of a mirror is the same there, without the repository's history."""
    there, theirs = elsewhere
    blob = await snapshots.ensure(repo, commits[1])
    await theirs.here(repo, commits[1])
    await theirs.here(repo, commits[1])

    for each in (Trees(mirrors), Trees(there)):
        base = await each._mirrors.tree_of(repo.hex, commits[1])
        assert base == await mirrors.tree_of(repo.hex, commits[1])
        assert await each.listing(repo.hex, base) == await Trees(mirrors).listing(repo.hex, base)
    head = await Trees(there).apply_patch(repo.hex, commits[1], PATCH)
    assert head == await Trees(mirrors).apply_patch(repo.hex, commits[1], PATCH)
    changes = [ChangeReader(each, lambda _: True) for each in (mirrors, there)]
    seen = [await each.read(repo.hex, commits[1], head, "") for each in changes]
    assert seen[0] == seen[1]
    made = io.BytesIO()
    await write_snapshot(there.git(repo.hex), commits[1], made)
    with depot.open(blob) as kept:
        assert made.getvalue() == kept.read()


async def test_what_came_in_an_archive_stays_and_is_in_nobodys_way(
    mirrors, snapshots, commits, repo, elsewhere, tmp_path
):
    """A repack keeps it, git finds the mirror whole, and the repository can be imported later."""
    there, theirs = elsewhere
    await snapshots.ensure(repo, commits[0])
    await theirs.here(repo, commits[0])
    mirror = there.git(repo.hex)
    await mirror.run("gc", "--quiet", "--prune=now")
    await mirror.run("fsck", "--strict", "--full")
    fresh = Mirrors(tmp_path / "elsewhere")
    assert await fresh.tree_of(repo.hex, commits[0]) == await mirrors.tree_of(repo.hex, commits[0])

    source = tmp_path / "source"
    git(tmp_path, "clone", "--quiet", "--bare", str(mirrors.git(repo.hex).git_dir), str(source))
    git(source, "update-ref", "refs/heads/main", commits[1])
    assert await there.import_path(repo.hex, source) == commits[1]
    assert await there.resolve(repo.hex, "HEAD~1") == commits[0]
    await mirror.run("fsck", "--strict", "--full")


async def test_what_a_home_has_taken_another_takes_too(
    mirrors, snapshots, repo, elsewhere, tmp_path
):
    """Files that git's own checks speak of, and a submodule, come in an archive as they are."""
    module = b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n'
    files = {".gitmodules": module, ".gitattributes": b"a " + b"x" * 3000 + b"\n", "a": b"a"}
    first = await mirrors.import_archive(repo.hex, archive(tmp_path / "m.tar", files))
    empty = await mirrors.git(repo.hex).line("mktree")
    second = await mirrors.git(repo.hex).line("commit-tree", empty, "-m", "empty")

    for commit in (first, second):
        await snapshots.ensure(repo, commit)
        await elsewhere[1].here(repo, commit)
        there = await elsewhere[0].tree_of(repo.hex, commit)
        assert there == await mirrors.tree_of(repo.hex, commit)


async def test_a_commit_that_is_nowhere_says_who_must_act(
    snapshots, commits, repo, elsewhere, tmp_path
):
    _, theirs = elsewhere
    with pytest.raises(CommitMissing, match=r"operator must import .* here again"):
        await theirs.here(repo, commits[0])
    await snapshots.ensure(repo, commits[0])
    shutil.rmtree(tmp_path / "blobs")
    (tmp_path / "blobs").mkdir()

    for ask in (theirs.here, theirs.ensure):
        with pytest.raises(CommitMissing, match="operator must"):
            await ask(repo, commits[0])
    await snapshots.ensure(repo, commits[0])  # the home that has it makes it anew
    await theirs.here(repo, commits[0])

"""Mirrors over real git: hostile sources, names, attributes, and imports side by side."""

import asyncio
import io
import os
import shutil
import subprocess
import tarfile

import pytest
from mirror_kit import patch_between

from control_plane.repos.archives import ArchiveRefused
from control_plane.repos.git import GitFailed, GitLimit, GitLimits, RepositoryError
from control_plane.repos.mirrors import Mirrors, RevisionUnknown
from control_plane.repos.trees import Trees

WHO = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
}


def git(folder, *arguments, stdin="", **environ):
    clean = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        **WHO,
        **environ,
    }
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=clean,
        input=stdin,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "a.py").write_text("a = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1")
    (folder / "a.py").write_text("a = 2\n")
    git(folder, "commit", "-qam", "two")
    return folder


@pytest.fixture
def mirrors(tmp_path):
    return Mirrors(tmp_path / "repos")


def sdist(path, files, top="pkg-1.0"):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


async def contents(mirrors, repo, commit):
    trees = Trees(mirrors)
    listed = await trees.listing(repo, commit)
    blobs = await trees.blobs(repo, [item.blob for item in listed.values()], 1 << 20)
    return {path: blobs[item.blob] for path, item in listed.items()}


async def test_a_repository_is_imported_with_its_history_and_without_its_worktree(
    mirrors, source, tmp_path
):
    (source / "a.py").write_text("dirty\n")

    head = await mirrors.import_path("r", source)

    assert head == git(source, "rev-parse", "HEAD")
    assert await contents(mirrors, "r", head) == {b"a.py": b"a = 2\n"}
    assert await mirrors.resolve("r", "HEAD") == head
    assert (
        await mirrors.resolve("r", "v1")
        == git(source, "rev-parse", "v1")
        == await mirrors.resolve("r", "HEAD~1")
    )
    assert (tmp_path / "repos" / "r.git").stat().st_mode & 0o777 == 0o700


async def test_a_detached_head_and_a_linked_worktree_are_imported(mirrors, source, tmp_path):
    git(source, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), "v1")

    assert await mirrors.import_path("r", tmp_path / "linked") == git(source, "rev-parse", "v1")


async def test_objects_are_copied_never_shared(mirrors, source, tmp_path):
    git(tmp_path, "clone", "-q", "--shared", str(source), str(tmp_path / "borrower"))

    head = await mirrors.import_path("r", tmp_path / "borrower")

    mirror = tmp_path / "repos" / "r.git"
    assert not (mirror / "objects" / "info" / "alternates").exists()
    assert all(path.stat().st_nlink == 1 for path in mirror.rglob("*") if path.is_file())
    shutil.rmtree(source)
    shutil.rmtree(tmp_path / "borrower")
    assert git(mirror, f"--git-dir={mirror}", "fsck", "--connectivity-only", head) == ""


def branched(source):
    """A commit beside the branch, of which no ref tells."""
    git(source, "checkout", "-q", "--detach")
    (source / "b.py").write_text("b = 1\n")
    git(source, "add", ".")
    git(source, "commit", "-qm", "three")
    commit = git(source, "rev-parse", "HEAD")
    git(source, "checkout", "-q", "trunk")
    return commit


async def test_one_commit_is_taken_without_history(mirrors, source, tmp_path):
    commit = branched(source)

    await mirrors.take_commit("r", source, git(source, "rev-parse", "HEAD"))
    await mirrors.take_commit("r", source, commit)
    await mirrors.take_commit("r", source, commit)

    assert await mirrors.resolve("r", "HEAD") == commit
    assert await contents(mirrors, "r", commit) == {b"a.py": b"a = 2\n", b"b.py": b"b = 1\n"}
    mirror = tmp_path / "repos" / "r.git"
    assert git(mirror, f"--git-dir={mirror}", "rev-list", "--all", "--count") == "2"
    assert git(mirror, f"--git-dir={mirror}", "fsck", "--connectivity-only") == ""


async def test_history_that_was_left_out_comes_with_a_whole_import(mirrors, source):
    first, head = git(source, "rev-parse", "v1"), git(source, "rev-parse", "HEAD")

    await mirrors.take_commit("r", source, head)
    with pytest.raises(RevisionUnknown):
        await mirrors.resolve("r", f"{head}~1")
    await mirrors.import_path("r", source)

    assert await mirrors.resolve("r", f"{head}~1") == first
    await mirrors.take_commit("r", source, first)
    assert await mirrors.resolve("r", f"{head}~1") == first


@pytest.mark.parametrize("how", [("--depth=1",), ("--filter=blob:none",), ("--filter=tree:0",)])
async def test_a_shallow_or_partial_clone_is_enough(mirrors, source, tmp_path, how):
    git(source, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", *how, f"file://{source}", "clone")
    head = git(source, "rev-parse", "HEAD")
    shutil.rmtree(source)  # nothing can be fetched any more

    await mirrors.take_commit("r", tmp_path / "clone", head)

    assert await contents(mirrors, "r", head) == {b"a.py": b"a = 2\n"}


async def test_a_commit_whose_files_are_not_there_is_told_with_what_to_do(
    mirrors, source, tmp_path
):
    git(source, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{source}", "clone")
    clone, first = tmp_path / "clone", git(source, "rev-parse", "v1")

    with pytest.raises(RepositoryError, match=f"archive {first} > /dev/null") as refused:
        await mirrors.take_commit("r", clone, first)
    git(clone, "archive", "--output=/dev/null", first)
    await mirrors.take_commit("r", clone, first)

    assert str(clone) in str(refused.value)
    assert await contents(mirrors, "r", first) == {b"a.py": b"a = 1\n"}


async def test_faults_of_old_commits_do_not_matter_to_one_without_them(mirrors, source):
    """Many a well-known history has objects that `fsck` refuses."""
    odd = git(source, "hash-object", "-w", "--stdin", stdin="x")
    tree = git(source, "mktree", stdin=f"100644 blob {odd}\t.git\n")
    old = git(source, "commit-tree", tree, "-m", "old")
    whole = git(source, "rev-parse", "HEAD^{tree}")
    head = git(source, "commit-tree", whole, "-p", old, "-m", "new")
    git(source, "update-ref", "refs/heads/trunk", head)

    with pytest.raises(RepositoryError):
        await mirrors.import_path("whole", source)
    await mirrors.take_commit("r", source, head)

    assert await contents(mirrors, "r", head) == {b"a.py": b"a = 2\n"}


@pytest.mark.parametrize("commit", ["HEAD", "0" * 40, "0" * 39])
async def test_what_is_no_commit_of_it_is_not_taken(mirrors, source, commit):
    with pytest.raises(RepositoryError, match=commit):
        await mirrors.take_commit("r", source, commit)


async def test_a_hostile_source_runs_nothing(mirrors, source, tmp_path):
    marker = tmp_path / "executed"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {marker}\nexec cat\n")
    script.chmod(0o755)
    keys = (
        "core.fsmonitor core.pager core.sshCommand core.alternateRefsCommand diff.external "
        "gpg.program credential.helper filter.x.clean filter.x.smudge uploadpack.packObjectsHook"
    )
    for key in keys.split():
        git(source, "config", key, str(script))
    git(source, "config", "core.hooksPath", str(tmp_path / "hooks"))
    for folder in [tmp_path / "hooks", source / ".git" / "hooks"]:
        folder.mkdir(exist_ok=True)
        for name in [
            "post-checkout",
            "pre-commit",
            "reference-transaction",
            "post-index-change",
            "pre-receive",
            "update",
        ]:
            (folder / name).write_text(script.read_text())
            (folder / name).chmod(0o755)
    (source / ".gitattributes").write_text("* filter=x diff=x\n")

    head = await mirrors.import_path("r", source)
    await patch_between(mirrors, "r", f"{head}~1", head)
    await mirrors.take_commit("one", source, head)

    assert not marker.exists()


async def test_what_a_partial_clone_lacks_is_fetched_by_nobody(mirrors, source, tmp_path):
    """Its own configuration says how, and may name any program."""
    git(source, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{source}", "clone")
    marker, script = tmp_path / "executed", tmp_path / "script"
    script.write_text(f'#!/bin/sh\ntouch {marker}\nexec git upload-pack "$@"\n')
    script.chmod(0o755)
    git(tmp_path / "clone", "config", "remote.origin.uploadpack", str(script))

    with pytest.raises(RepositoryError):
        await mirrors.take_commit("r", tmp_path / "clone", git(source, "rev-parse", "v1"))
    with pytest.raises(RepositoryError):
        await mirrors.import_path("whole", tmp_path / "clone")

    assert not marker.exists()


async def test_the_machines_own_git_configuration_is_not_read(
    mirrors, source, tmp_path, monkeypatch
):
    marker = tmp_path / "executed"
    (tmp_path / ".gitconfig").write_text(
        f'[core]\n\tfsmonitor = "touch {marker}; false"\n[diff]\n\texternal = "touch {marker}; '
        'false"\n'
    )
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_DIR": "/nonexistent",
        "GIT_EXTERNAL_DIFF": f"touch {marker}",
        "GIT_TRACE": "1",
    }.items():
        monkeypatch.setenv(name, value)

    head = await mirrors.import_path("r", source)

    assert b"-a = 1\n+a = 2\n" in await patch_between(mirrors, "r", f"{head}~1", head)
    assert not marker.exists()


async def test_a_tree_that_holds_a_git_directory_is_refused(mirrors, source):
    blob = git(source, "rev-parse", "HEAD:a.py")
    bad = git(source, "mktree", "--missing", stdin=f"100644 blob {blob}\t.GIT\n")
    commit = git(source, "commit-tree", "-m", "x", bad)
    git(source, "update-ref", "refs/heads/trunk", commit)

    with pytest.raises(GitFailed, match=r"hasDotgit"):
        await mirrors.import_path("r", source)


async def test_an_empty_repository_says_so(mirrors, tmp_path):
    git(tmp_path, "init", "-q", "empty")

    with pytest.raises(RevisionUnknown, match="no HEAD"):
        await mirrors.import_path("r", tmp_path / "empty")


async def test_a_million_refs_meet_a_cap(source, tmp_path):
    head = git(source, "rev-parse", "HEAD")
    (source / ".git" / "packed-refs").write_text(
        "".join(f"{head} refs/heads/b{n}\n" for n in range(200))
    )

    with pytest.raises(RepositoryError, match="more than 100"):
        await Mirrors(tmp_path / "repos", max_refs=100).import_path("r", source)


async def test_a_pack_that_is_too_large_and_a_git_that_is_too_slow_are_ended(source, tmp_path):
    (source / "noise").write_bytes(os.urandom(300_000))
    git(source, "add", ".")
    git(source, "commit", "-qm", "noise")

    with pytest.raises((GitLimit, GitFailed)):
        await Mirrors(tmp_path / "small", limits=GitLimits(file_bytes=100_000)).import_path(
            "r", source
        )
    with pytest.raises(GitLimit, match=r"longer than 0\.001 s"):
        await Mirrors(tmp_path / "slow", limits=GitLimits(time_s=0.001)).import_path("r", source)


async def test_a_rewritten_branch_does_not_lose_what_a_run_uses(mirrors, source, tmp_path):
    first = await mirrors.import_path("r", source)
    git(source, "commit", "-q", "--amend", "-m", "rewritten")

    second = await mirrors.import_path("r", source)

    assert second != first
    mirror = tmp_path / "repos" / "r.git"
    git(mirror, f"--git-dir={mirror}", "gc", "-q", "--prune=now")
    assert await mirrors.resolve("r", first) == first


@pytest.mark.parametrize(
    "revision", ["nothing", "-h", "--all", "", "HEAD:a.py", "f" * 40, "HEAD~5"]
)
async def test_what_is_no_commit_is_unknown(mirrors, source, revision):
    await mirrors.import_path("r", source)

    with pytest.raises(RevisionUnknown):
        await mirrors.resolve("r", revision)


@pytest.mark.parametrize("repo", ["../x", "", "a/b", "-x", "a.git"])
async def test_an_id_that_is_no_plain_name_is_refused(mirrors, source, repo):
    with pytest.raises(RepositoryError, match="cannot be"):
        await mirrors.import_path(repo, source)


async def test_two_releases_become_base_and_head(mirrors, tmp_path):
    one = sdist(
        tmp_path / "pkg-1.0.tar.gz", {"a.py": b"1\r\n", "old.py": b"", "PKG-INFO": b"Version: 1.0"}
    )
    two = sdist(
        tmp_path / "pkg-1.1.tar.gz",
        {"a.py": b"2\r\n", "new/b.py": b"b", "PKG-INFO": b"Version: 1.1"},
        top="pkg-1.1",
    )

    base = await mirrors.import_archive("r", one)
    head = await mirrors.import_archive("r", two, parent=base)

    assert await mirrors.resolve("r", f"{head}~1") == base
    assert set(await contents(mirrors, "r", head)) == {b"a.py", b"new/b.py", b"PKG-INFO"}
    patch = await patch_between(mirrors, "r", base, head)
    assert await Trees(mirrors).apply_patch("r", base, patch) == await mirrors.tree_of("r", head)


async def test_the_same_archive_is_the_same_commit_everywhere(tmp_path):
    path = sdist(tmp_path / "pkg-1.0.tar.gz", {"a.py": b"1"})

    commits = {
        await Mirrors(tmp_path / place).import_archive("r", path) for place in ["here", "there"]
    }

    assert len(commits) == 1


async def test_a_hostile_archive_leaves_nothing(mirrors, tmp_path):
    path = sdist(tmp_path / "bad.tar.gz", {"ok": b"1", "../../out": b"2"})

    with pytest.raises(ArchiveRefused, match="out"):
        await mirrors.import_archive("r", path)

    with pytest.raises(RevisionUnknown):
        await mirrors.resolve("r", "HEAD")


async def test_a_plain_directory_is_one_commit(mirrors, tmp_path):
    folder = tmp_path / "plain"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x").write_bytes(b"1")
    (folder / "link").symlink_to("sub/x")

    assert await contents(mirrors, "r", await mirrors.import_path("r", folder)) == {
        b"link": b"sub/x",
        b"sub/x": b"1",
    }


async def test_a_plain_directory_with_a_fifo_or_a_link_out_is_refused(mirrors, tmp_path):
    for name, make in {
        "fifo": os.mkfifo,
        "link": lambda path: path.symlink_to("/etc/passwd"),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder / "bad")
        with pytest.raises(ArchiveRefused, match="bad"):
            await mirrors.import_path("r", folder)


NAMES = [
    b"new\nline",
    b"-rf",
    b'quo"te',
    b"back\\slash x",
    b"\xff\xfe",
    b"x" * 255,
    b"tab\there",
    b" lead",
    b"trail ",
    "ünï".encode(),
    b":(glob)*",
    b"a/b/c",
]


async def test_odd_names_make_the_round_trip(mirrors, tmp_path):
    files = {name: b"content of " + name for name in NAMES if b"\\" not in name}
    folder = tmp_path / "odd"
    for name, content in files.items():
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    base = await mirrors.import_archive("r", sdist(tmp_path / "empty.tar.gz", {"seed": b""}))
    head = await mirrors.import_path("r", folder)
    trees = Trees(mirrors)

    patch = await patch_between(mirrors, "r", base, head)

    assert await contents(mirrors, "r", head) == files
    assert await trees.apply_patch("r", base, patch) == await mirrors.tree_of("r", head)


async def test_imports_side_by_side_all_arrive(mirrors, tmp_path):
    archives = [sdist(tmp_path / f"p{n}.tar.gz", {"a.py": str(n).encode()}) for n in range(6)]

    commits = await asyncio.gather(*(mirrors.import_archive("r", archive) for archive in archives))

    assert len(set(commits)) == 6
    assert [await contents(mirrors, "r", commit) for commit in commits] == [
        {b"a.py": str(n).encode()} for n in range(6)
    ]


ATTRIBUTES = (
    b"*.txt eol=crlf\n*.py ident -diff\n*.x filter=lfs diff=lfs merge=lfs -text\n"
    b"*.u working-tree-encoding=UTF-16\n/sub export-ignore\n*.s export-subst\n*.b binary\n"
)


async def test_attributes_of_a_repository_change_no_bytes(mirrors, tmp_path):
    before = {
        ".gitattributes": ATTRIBUTES, "a.txt": b"1\n2\n", "b.py": b"# $Id$\n", "c.x": b"version\n",
        "d.u": b"plain\n", "sub/e": b"e\n", "f.s": b"$Format:%H$\n", "g.b": b"text\n",
    }  # fmt: skip
    after = before | {
        name: content + b"more\n" for name, content in before.items() if name != ".gitattributes"
    }
    base = await mirrors.import_archive("r", sdist(tmp_path / "1.tar.gz", before))
    head = await mirrors.import_archive("r", sdist(tmp_path / "2.tar.gz", after), parent=base)
    trees = Trees(mirrors)

    patch = await patch_between(mirrors, "r", base, head)

    assert patch.count(b"\n+more\n") == 7  # `-diff` and `binary` did not hide a line
    assert b"GIT binary patch" not in patch
    assert await trees.apply_patch("r", base, patch) == await mirrors.tree_of("r", head)
    assert await contents(mirrors, "r", head) == {
        name.encode(): content for name, content in after.items()
    }

# ruff: noqa: PTH108, PTH211
# (paths here are bytes that need not be text, or longer than one call takes)
import io
import os
import socket
import subprocess
import sys

import pytest
from tree_kit import GIT_ENVIRON, Bench, git, read_tree, write_file

from runners import git_private
from runners.archive import Entry
from runners.dehydrate import collect
from runners.git_private import GitFailed
from runners.hydrate import write_delta
from runners.tree_rules import PatchLimits

BASE = {
    b"README.md": ("100644", b"hello\nworld\n"),
    b"src/app.py": ("100644", b"print('a')\n"),
    b"src/deep/er/x.py": ("100644", b"x = 1\n"),
    b"run.sh": ("100755", b"#!/bin/sh\n"),
    b"link": ("120000", b"src/app.py"),
    b"escape": ("120000", b"/etc/passwd"),
    b"blob.bin": ("100644", bytes(range(256)) * 4),
    b".gitignore": ("100644", b"build/\n*.log\n!keep.log\n"),
    b"docs/.gitignore": ("100644", b"/out\n"),
}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, BASE)


def test_an_untouched_tree_is_an_empty_patch(bench):
    patch, changes = bench.collect()

    assert (patch, changes.tree, changes.entries, changes.refused) == (b"", bench.against, (), ())


def test_every_kind_of_change_comes_back_exactly(bench):
    workspace = bench.workspace
    (workspace / "README.md").write_bytes(b"hello\r\nw\xffrld\n no newline")
    (workspace / "blob.bin").write_bytes(bytes(range(255, -1, -1)) * 4)
    (workspace / "run.sh").chmod(0o644)
    (workspace / "link").unlink()
    (workspace / "link").symlink_to("README.md")
    (workspace / "src/deep/er/x.py").unlink()
    (workspace / "src/deep/er").rmdir()
    (workspace / "src/deep").rmdir()
    (workspace / "src/deep").write_text("a file now\n")
    (workspace / "new dir").mkdir()
    (workspace / "new dir" / "-n 'quo\"te\\\n").write_text("odd name")
    (workspace / "empty").write_text("")
    (workspace / "new.bin").write_bytes(os.urandom(5000))

    patch, changes = bench.collect()

    files, tree = bench.applied(patch)
    assert changes.refused == ()
    assert tree == changes.tree
    assert files[b"README.md"][1] == b"hello\r\nw\xffrld\n no newline"
    assert files[b"src/deep"] == ("100644", b"a file now\n")
    assert b"src/deep/er/x.py" not in files
    assert b"new dir/-n 'quo\"te\\\n" in files
    assert set(changes.altered_tracked) == {
        b"README.md",
        b"blob.bin",
        b"run.sh",
        b"link",
        b"src/deep/er/x.py",
    }


def test_the_same_tree_gives_the_same_bytes(bench):
    (bench.workspace / "src/app.py").write_text("print('b')\n")
    (bench.workspace / "z").write_text("z")

    assert bench.collect() == bench.collect()


@pytest.mark.parametrize(
    "name",
    [b"bad-\xff-utf8", b"new\nline", b"-rf", b'quote"', b"back\\slash", b"t\tab", b"x" * 255],
)
def test_odd_names_round_trip(bench, name):
    write_file(bench.workspace, name, "100644", b"odd\n")

    patch, changes = bench.collect()

    files, tree = bench.applied(patch)
    assert changes.refused == ()
    assert (files[name], tree) == (("100644", b"odd\n"), changes.tree)


def test_a_path_of_four_thousand_bytes_round_trips(bench):
    parts = [b"d" * 250] * 15
    fd = os.open(bench.workspace, os.O_RDONLY)
    for part in parts:  # step by step: the whole path is too long for one call
        os.mkdir(part, dir_fd=fd)
        below = os.open(part, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open(b"f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)

    _, changes = bench.collect()

    assert changes.refused == ()
    assert [entry.path for entry in changes.entries] == [b"/".join([*parts, b"f"])]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (b"sub/.git/config", "git directory"),
        (b"sub/.git", "git directory"),
        (b".GIT/config", "git directory"),
        (b"git~1", "git directory"),
        (b"a/.g\xe2\x80\x8cit/x", "git directory"),
        (b"a/.git. /x", "git directory"),
        (b"a/.git::$INDEX_ALLOCATION", "git directory"),
        (b"readme.MD", "some file systems"),
        (b"SRC/other.py", "some file systems"),
        (b"src/nul.txt", "Windows"),
        (b"src/pay\xe2\x80\xaeload.py", "direction"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_hostile_names_are_refused_by_name(bench, name, word, whole):
    write_file(bench.workspace, name, "100644", b"x")
    parents = {b"/".join(name.split(b"/")[: i + 1]) for i in range(name.count(b"/") + 1)}

    patch, changes = bench.collect(None if whole else parents | {b""})

    assert (patch, changes.tree) == (b"", None)
    assert any(word in entry.reason for entry in changes.refused), changes.refused


def test_composed_and_decomposed_twins_are_refused(bench):
    write_file(bench.workspace, "caf\u00e9".encode(), "100644", b"x")
    write_file(bench.workspace, "cafe\u0301".encode(), "100644", b"x")

    assert len(bench.collect()[1].refused) == 2


@pytest.mark.parametrize(
    ("link", "target", "fine"),
    [
        (b"a", b"/etc/passwd", False),
        (b"a", b"../outside", False),
        (b"src/a", b"../README.md", True),
        (b"src/a", b"../../outside", False),
        (b"a", b"src/../../outside", False),
        (b"a", b".git/config", False),
        (b"a", b"a", True),
        (b"a", b"nowhere", True),
    ],
)
def test_links_are_text_and_stay_inside(bench, link, target, fine):
    os.symlink(target, os.fsencode(bench.workspace) + b"/" + link)

    patch, changes = bench.collect()

    assert (changes.refused == ()) is fine
    if fine:
        assert bench.applied(patch)[0][link] == ("120000", target)


def test_a_link_of_the_base_may_stay_and_may_not_be_copied(bench):
    assert bench.collect()[1].refused == ()

    (bench.workspace / "escape").unlink()
    (bench.workspace / "escape").symlink_to("/etc/shadow")

    assert [entry.path for entry in bench.collect()[1].refused] == [b"escape"]


def test_a_directory_that_became_a_link_is_not_followed(bench, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "app.py").write_text("print('a')\n")
    (bench.workspace / "src/app.py").rename(tmp_path / "kept")
    subprocess.run(["rm", "-r", bench.workspace / "src"], check=True)
    (bench.workspace / "src").symlink_to(outside)

    for changed in (None, {b"src"}):
        _, changes = bench.collect(changed)
        assert {entry.path for entry in changes.entries if entry.head_mode is None} == {
            b"src/app.py",
            b"src/deep/er/x.py",
        }
        assert [entry.path for entry in changes.refused] == [b"src"]


def test_what_is_no_file_is_refused_with_its_name(bench):
    os.mkfifo(bench.workspace / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(bench.workspace, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    os.unlink(bench.workspace / "src/app.py")
    os.mkfifo(bench.workspace / "src/app.py")

    _, changes = bench.collect()

    reasons = {entry.path: entry.reason for entry in changes.refused}
    assert reasons == {b"fifo": "is a fifo", b"socket": "is a socket", b"src/app.py": "is a fifo"}
    assert changes.altered_tracked == (b"src/app.py",)


def test_hard_links_are_files_and_set_id_bits_are_dropped_with_a_note(bench):
    os.link(bench.workspace / "README.md", bench.workspace / "second")
    (bench.workspace / "su").write_text("x")
    (bench.workspace / "su").chmod(0o4755)

    patch, changes = bench.collect()

    assert bench.applied(patch)[0][b"su"] == ("100755", b"x")
    assert any("set-id" in note for note in changes.notes)


def test_the_sandboxs_git_directory_cannot_hide_anything(bench, tmp_path):
    """H32 and G01-G03: index flags, excludes, replace refs, fsmonitor, filters, .gitignore."""
    workspace, marker = bench.workspace, tmp_path / "marker"
    git("init", "-q", cwd=workspace)
    git("add", "-A", "-f", cwd=workspace)
    git("commit", "-qm", "x", cwd=workspace)
    git("update-index", "--assume-unchanged", "README.md", cwd=workspace)
    git("update-index", "--skip-worktree", "src/app.py", cwd=workspace)
    (workspace / ".git/info/exclude").write_text("*\n")
    hook = f"touch {marker}"
    for key in (
        "core.fsmonitor",
        "diff.external",
        "filter.x.clean",
        "filter.x.smudge",
        "diff.x.textconv",
    ):
        git("config", key, hook, cwd=workspace)
    (workspace / ".gitattributes").write_text("* -diff filter=x diff=x ident text eol=crlf\n")
    (workspace / ".gitignore").write_text("*\n")
    (workspace / "README.md").write_text("changed $Id$\n")
    (workspace / "src/app.py").write_text("changed\n")
    (workspace / "new.py").write_text("new\n")

    patch, changes = bench.collect()

    paths = {entry.path for entry in changes.entries}
    assert paths == {b"README.md", b"src/app.py", b"new.py", b".gitattributes", b".gitignore"}
    assert b"+changed $Id$" in patch
    files, tree = bench.applied(patch)
    assert (tree, files[b"README.md"][1]) == (changes.tree, b"changed $Id$\n")
    assert not marker.exists()


def test_the_bases_ignore_rules_leave_out_new_files_only(bench):
    for name in (
        "build/x",
        "a.log",
        "keep.log",
        "docs/out",
        "docs/in",
        "src/__pycache__/a.pyc",
        "b.pyc",
        ".coverage",
    ):
        write_file(bench.workspace, name.encode(), "100644", b"x")
    (bench.workspace / "sub").mkdir()
    os.mkfifo(bench.workspace / "build/fifo")
    write_file(bench.workspace, b"build/vendored/.git/config", "100644", b"x")

    _, changes = bench.collect()

    assert {entry.path for entry in changes.entries} == {b"keep.log", b"docs/in"}
    assert changes.refused == ()
    assert changes.notes


def test_litter_that_the_base_tracks_is_looked_at(tmp_path):
    bench = Bench(
        tmp_path,
        {
            b"p/__pycache__/a.pyc": ("100644", b"old"),
            b"x.log": ("100644", b"1"),
            b".gitignore": ("100644", b"*.log"),
        },
    )
    (bench.workspace / "p/__pycache__/a.pyc").write_bytes(b"new")
    (bench.workspace / "x.log").unlink()

    for changed in (None, {b"p", b"p/__pycache__", b"p/__pycache__/a.pyc", b"x.log", b""}):
        assert bench.collect(changed)[1].altered_tracked == (b"p/__pycache__/a.pyc", b"x.log")


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (PatchLimits(files=2), "more than 2 files"),
        (PatchLimits(file_bytes=10), "at most 10"),
        (PatchLimits(total_bytes=50), "more than 50 bytes"),
        (PatchLimits(path_bytes=8), "longer than 8"),
        (PatchLimits(depth=2), "deeper than 2"),
        (PatchLimits(entries_seen=5), "more than 5 entries"),
        (PatchLimits(time_s=0.0), "longer than 0 s"),
    ],
)
def test_limits_are_said_and_give_no_patch(bench, limits, word):
    for index in range(3):
        write_file(bench.workspace, b"much/of/it/file-%d" % index, "100644", b"x" * 30)

    patch, changes = bench.collect(limits=limits)

    assert (patch, changes.tree) == (b"", None)
    assert any(word in entry.reason for entry in changes.refused), changes.refused


def test_a_patch_that_nobody_would_read_is_refused_though_its_files_are_small(tmp_path):
    bench = Bench(tmp_path, {b"old": ("100644", b"line\n" * 400)})
    (bench.workspace / "old").unlink()

    patch, changes = bench.collect(limits=PatchLimits(total_bytes=100, patch_bytes=1000))

    assert (patch, changes.tree) == (b"", None)
    assert [entry.reason for entry in changes.refused] == [
        "the patch has more than 1000 bytes; split the change"
    ]


def test_a_sparse_giant_is_refused_without_being_read(bench):
    with (bench.workspace / "giant").open("wb") as file:
        file.truncate(5 * 2**30)

    assert "at most" in bench.collect()[1].refused[0].reason


def test_a_submodule_of_the_base_stays_and_cannot_be_filled(tmp_path):
    bench = Bench(tmp_path, {b"a": ("100644", b"a")})
    index = b"160000 %s\tvendored\0" % (b"1" * 40)
    git("update-index", "-z", "--index-info", cwd=bench.repository, stdin=index)
    bench.against = git("write-tree", "--missing-ok", cwd=bench.repository).decode().strip()

    assert bench.collect()[1].tree == bench.against

    write_file(bench.workspace, b"vendored/x", "100644", b"x")
    assert bench.collect()[1].refused[0].reason == "lies in a submodule"


def test_the_collector_runs_isolated_from_a_workspace_that_shadows_modules(bench, tmp_path):
    """H34: run as the zipapp, with the working directory inside hostile bytes."""
    from runners.pack import runner_pyz

    (tmp_path / "runner.pyz").write_bytes(runner_pyz())
    (bench.workspace / "json").mkdir()
    (bench.workspace / "json/__init__.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "into").mkdir()
    command = [
        sys.executable,
        "-I",
        tmp_path / "runner.pyz",
        "dehydrate",
        "--base",
        bench.snapshot(),
    ]
    command += ["--tree", bench.workspace, "--into", tmp_path / "into"]

    subprocess.run(command, cwd=bench.workspace, check=True, env=GIT_ENVIRON)

    assert b"json/__init__.py" in (tmp_path / "into/change.patch").read_bytes()


def delta(*entries):
    into = io.BytesIO()
    write_delta(entries, into)
    return into.getvalue()


def started_from(bench):
    """What an earlier session left, as a delta; it is in the workspace when the next one starts."""
    write_file(bench.workspace, b"earlier/new.py", "100644", b"new\n")
    write_file(bench.workspace, b"src/app.py", "100644", b"print('b')\n")
    (bench.workspace / "run.sh").unlink()
    return delta(
        Entry(b"earlier/new.py", "100644", b"new\n"),
        Entry(b"src/app.py", "100644", b"print('b')\n"),
        Entry(b"run.sh", None),
    )


EARLIER = {b"earlier/new.py", b"src/app.py", b"run.sh"}


@pytest.mark.parametrize("changed", [None, EARLIER | {b"README.md"}])
def test_a_tree_that_began_with_a_delta_is_compared_with_what_it_began_from(bench, changed):
    began = started_from(bench)

    patch, changes = bench.collect(changed, delta=began, from_base=False)
    assert (patch, changes.entries, changes.altered_tracked) == (b"", (), ())

    write_file(bench.workspace, b"README.md", "100644", b"changed\n")
    patch, changes = bench.collect(changed, delta=began, from_base=False)
    assert {entry.path for entry in changes.entries} == {b"README.md"}
    assert changes.altered_tracked == (b"README.md",)


def test_or_with_the_snapshot_so_that_earlier_work_is_in_the_patch(bench):
    began = started_from(bench)

    patch, changes = bench.collect(delta=began)

    assert {entry.path for entry in changes.entries} == EARLIER
    assert bench.applied(patch) == (read_tree(bench.workspace), changes.tree)


def test_ignore_files_of_the_delta_do_not_count(bench):
    """They are an earlier agent's; only the snapshot's rules leave anything out."""
    began = delta(Entry(b".gitignore", "100644", b"*\n"))
    write_file(bench.workspace, b".gitignore", "100644", b"*\n")
    write_file(bench.workspace, b"hidden.py", "100644", b"x = 1\n")

    _, changes = bench.collect(delta=began, from_base=False)

    assert [entry.path for entry in changes.entries] == [b"hidden.py"]


def test_a_base_that_is_no_snapshot_is_said(bench):
    bench.snapshot()
    (bench.repository / "refs/heads/main").unlink()

    with pytest.raises(GitFailed, match="not the git directory of a snapshot"):
        collect(bench.repository.parent, None, bench.workspace, None, bench.home, PatchLimits())


def test_refused_entries_are_named_up_to_a_number_and_then_counted(bench):
    for n in range(30):
        os.mkfifo(bench.workspace / f"pipe-{n:02}")
    (bench.workspace / "README.md").unlink()
    os.mkfifo(bench.workspace / "README.md")

    patch, changes = bench.collect(limits=PatchLimits(refused=10))

    assert patch == b""
    assert sum(entry.path.startswith(b"pipe-") for entry in changes.refused) == 10
    assert changes.refused[-1].reason == "20 more entries cannot be taken"
    assert changes.altered_tracked == (b"README.md",), "a tracked path is named in any case"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (PatchLimits(entries_seen=8), "more than 8 entries to look at"),
        (PatchLimits(files=3), "more than 3 files changed"),
        (PatchLimits(total_bytes=40), "more than 40 bytes"),
    ],
)
def test_where_looking_stopped_the_list_of_altered_files_is_known_not_to_be_whole(
    bench, limits, why
):
    for n in range(9):
        write_file(bench.workspace, f"a/{n}".encode(), "100644", b"flood it\n")
    (bench.workspace / "src/app.py").write_bytes(b"forged\n")

    _, changes = bench.collect(limits=limits)

    assert why in (changes.stopped or "")


def test_a_list_that_is_whole_says_so_also_of_a_change_that_is_refused(bench):
    os.mkfifo(bench.workspace / "pipe")

    _, changes = bench.collect(limits=PatchLimits(refused=0))

    assert changes.refused[-1].reason == "1 more entries cannot be taken"
    assert changes.stopped is None


def test_a_huge_file_of_newlines_is_too_large_and_not_a_gigabyte_of_memory(bench):
    (bench.workspace / "README.md").write_bytes(b"\n" * (32 * 2**20))

    patch, changes = bench.collect()

    assert (patch, changes.tree) == (b"", None)
    (refused,) = changes.refused
    assert "bytes of memory); split it" in refused.reason


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("MEMORY_BYTES", 60 * 2**20, "bytes of memory"),
        ("FILE_BYTES", 2**20, "wrote more than"),
        ("TIME_S", 0.0, "took longer than"),
    ],
)
def test_a_change_that_is_too_much_for_git_is_its_authors_to_split(
    bench, monkeypatch, limit, value, why
):
    monkeypatch.setattr(git_private, limit, value)
    (bench.workspace / "README.md").write_bytes(b"\n" * (3 * 2**20))

    patch, changes = bench.collect()

    assert (patch, changes.tree) == (b"", None)
    (refused,) = changes.refused
    assert why in refused.reason

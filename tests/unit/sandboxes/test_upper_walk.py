"""Which paths an upper directory says have changed.

What the kernel's overlay writes is tried in the contract suite.
"""

import os
import stat
import sys

import pytest

from sandboxes.docker import upper
from sandboxes.docker.upper import HostileTree, changed_paths

root_only = pytest.mark.skipif(
    os.geteuid() != 0, reason="whiteouts and trusted attributes need root"
)


@pytest.fixture
def trees(tmp_path):
    base, over = tmp_path / "base", tmp_path / "upper"
    for name in ("a/b/one", "a/two", "top"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(name)
    (base / "out").symlink_to("/etc")
    over.mkdir()
    return base, over


def whiteout(path):
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def test_nothing_changed(trees):
    base, over = trees

    assert changed_paths(over, base) == set()


@root_only
def test_a_whiteout_of_a_directory_lists_all_that_was_below(trees):
    base, over = trees
    whiteout(over / "a")

    assert changed_paths(over, base) == {b"a", b"a/b/one", b"a/two"}


@root_only
def test_an_opaque_directory_hides_what_the_base_has(trees):
    base, over = trees
    (over / "a" / "b").mkdir(parents=True)
    os.setxattr(over / "a", "trusted.overlay.opaque", b"y")
    (over / "a" / "b" / "new").write_text("")

    assert changed_paths(over, base) == {b"a/b/one", b"a/two", b"a/b/new"}


def test_a_directory_in_place_of_a_link_does_not_lead_through_the_link(trees):
    base, over = trees
    (over / "out" / "ssh").mkdir(parents=True)
    (over / "out" / "passwd").write_text("")

    assert changed_paths(over, base) == {b"out", b"out/passwd"}


def test_a_file_in_place_of_a_directory_lists_what_is_gone(trees):
    base, over = trees
    (over / "a").write_text("")

    assert changed_paths(over, base) == {b"a", b"a/b/one", b"a/two"}


def test_a_link_in_the_upper_directory_is_not_followed(trees):
    base, over = trees
    (over / "a").symlink_to("/etc")

    assert changed_paths(over, base) == {b"a", b"a/b/one", b"a/two"}


@root_only
def test_a_device_is_refused(trees):
    base, over = trees
    os.mknod(over / "disk", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    with pytest.raises(HostileTree, match="device"):
        changed_paths(over, base)


def test_too_many_paths_are_refused_and_not_cut_short(trees, monkeypatch):
    base, over = trees
    monkeypatch.setattr(upper, "MAX_ENTRIES", 10)
    for number in range(11):
        (over / str(number)).touch()

    with pytest.raises(HostileTree, match="more than 10"):
        changed_paths(over, base)


def test_the_deepest_tree_that_is_allowed_fits_the_stack(trees):
    base, over = trees
    at = os.open(over, os.O_RDONLY)
    for _ in range(
        upper.MAX_DEPTH
    ):  # by handle, as an agent does it: the path may be longer than a call takes
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_CREAT, dir_fd=at))
    os.close(at)

    assert changed_paths(over, base) == {b"/".join([b"d"] * upper.MAX_DEPTH + [b"file"])}
    assert sys.getrecursionlimit() > upper.MAX_DEPTH * 4

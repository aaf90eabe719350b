"""A directory is read within its limits: they are met before they cost anything."""

import os
import subprocess
import tracemalloc

import pytest

from control_plane.repos.archives import ArchiveLimits, ArchiveRefused
from control_plane.repos.directories import read_directory

MB = 2**20


def test_files_and_links_come_in_order_with_their_modes(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "tool").write_bytes(b"x")
    (tmp_path / "b" / "tool").chmod(0o755)
    (tmp_path / "a.txt").write_bytes(b"text")
    (tmp_path / "c").symlink_to("/etc/passwd")

    entries = read_directory(tmp_path, ArchiveLimits())

    assert [(entry.path, entry.mode, entry.content) for entry in entries] == [
        (b"a.txt", "100644", b"text"),
        (b"b/tool", "100755", b"x"),
        (b"c", "120000", b"/etc/passwd"),
    ]


def test_a_file_past_the_limit_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "small").write_bytes(b"x" * 10)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(128 * MB)

    tracemalloc.start()
    try:
        with pytest.raises(ArchiveRefused, match="bytes"):
            read_directory(tmp_path, ArchiveLimits(total_bytes=MB))
        assert tracemalloc.get_traced_memory()[1] < 8 * MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [MB - 1, MB])
def test_a_directory_of_just_the_limit_is_taken(tmp_path, size):
    (tmp_path / "file").write_bytes(b"x" * size)

    assert len(read_directory(tmp_path, ArchiveLimits(total_bytes=MB, members=1))) == 1


def test_one_file_too_many_is_refused_before_any_is_opened(tmp_path):
    for number in range(3):
        os.mkfifo(tmp_path / f"{number}")

    with pytest.raises(ArchiveRefused, match="more than 2 files"):
        read_directory(tmp_path, ArchiveLimits(members=2))


@pytest.fixture
def deep(tmp_path):
    """Removed here: neither pytest nor `shutil` removes what is deeper than Python's recursion."""
    root = tmp_path / "deep"
    root.mkdir()
    yield root
    subprocess.run(["rm", "-rf", root], check=True)


def test_directories_may_be_as_deep_as_paths_are_long(deep):
    here = os.open(deep, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)

    found = read_directory(deep, ArchiveLimits())

    assert [entry.path for entry in found] == [b"d/" * 1100 + b"file"]

"""What the directory adapter alone does (of every store: tests/contract/test_blobs.py)."""

import io
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.blobs.directory import DirectoryBlobs
from sandboxes.errors import DepotUnavailable, TooLarge

WRITER = """
import os, sys
from pathlib import Path
from control_plane.blobs.directory import DirectoryBlobs

class Endless:
    def read(self, size):
        os.write(1, b"w")
        if sys.stdin.read(1) == "":
            raise SystemExit
        return b"x" * size

DirectoryBlobs(Path(sys.argv[1])).put(Endless(), 2**40)
"""


@pytest.fixture
def store(tmp_path):
    return DirectoryBlobs(tmp_path / "blobs")


def test_other_files_in_the_directory_are_nobody_of_ours(store):
    """A shared directory may be NFS: an open file that is removed becomes `.nfs...` beside it."""
    kept = put(store, b"kept")
    folder = store.path(kept).parent
    (folder / ".nfs000000000a1b2c3d00000001").write_bytes(b"removed while it was read")
    (folder / ("A" * 62)).write_bytes(b"")
    (folder / ("0" * 62)).mkdir()

    assert [one.sha256 for one in store.every()] == [kept]


def put(store, content):
    return store.put(io.BytesIO(content), len(content)).sha256


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_one_byte_too_many_leaves_nothing(store, tmp_path):
    with pytest.raises(TooLarge):
        store.put(io.BytesIO(b"x" * 11), 10)

    assert files(tmp_path) == []


def test_a_source_that_breaks_leaves_nothing(store, tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        store.put(Broken(), 10)

    assert files(tmp_path) == []


def test_files_and_directories_are_private(store, tmp_path):
    put(store, b"secret")

    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "blobs").rglob("*")}
    assert modes == {0}


def test_what_a_dead_process_was_writing_is_swept_and_what_a_living_one_writes_is_not(
    store, tmp_path
):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "blobs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.read(1)
        writer.stdin.write(b"go")
        writer.stdin.flush()
        writer.stdout.read(1)  # a block is written
        assert store.sweep() == 0
        (partial,) = files(tmp_path)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        size_bytes = partial.stat().st_size

        assert store.sweep() == size_bytes > 0
        assert files(tmp_path) == []


def test_what_is_put_again_is_not_deleted_as_old(store):
    sha256 = put(store, b"used again")
    os.utime(store.path(sha256), (0, 0))
    put(store, b"used again")

    assert not store.delete(sha256, datetime.now(UTC) - timedelta(hours=1))
    assert store.open(sha256).read() == b"used again"


def test_a_disk_that_refuses_is_a_store_that_does_not_answer(store, tmp_path):
    (tmp_path / "blobs").rmdir()
    (tmp_path / "blobs").write_text("in the way")

    with pytest.raises(DepotUnavailable, match="cannot be written"):
        put(store, b"x")
    with pytest.raises(DepotUnavailable):
        store.check()

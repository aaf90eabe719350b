import hashlib
import io
import stat

import pytest

from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.store import BlobDamaged, BlobStore
from sandboxes.errors import BlobMissing, TooLarge


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "blobs")


def test_bytes_come_back_by_their_hash(store):
    artifact = store.put(io.BytesIO(b"hello" * 1000), 5000)

    assert artifact.sha256 == hashlib.sha256(b"hello" * 1000).hexdigest()
    assert artifact.size_bytes == 5000
    assert store.read(artifact.sha256, 5000) == b"hello" * 1000


def test_one_byte_too_many_leaves_nothing(store, tmp_path):
    with pytest.raises(TooLarge):
        store.put(io.BytesIO(b"x" * 11), 10)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_source_that_breaks_leaves_nothing(store, tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        store.put(Broken(), 10)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_damage_is_seen_while_reading_and_healed_by_putting_again(store):
    artifact = store.put_bytes(b"right")
    store.path(artifact.sha256).write_bytes(b"wrong")

    with store.open(artifact.sha256) as file, pytest.raises(BlobDamaged):
        file.read()
    with pytest.raises(BlobDamaged):
        store.read(artifact.sha256, 100)

    store.put_bytes(b"right")
    assert store.read(artifact.sha256, 100) == b"right"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64])
def test_what_is_no_blob_is_missing(store, name):
    with pytest.raises(BlobMissing):
        store.open(name)


def test_reading_more_than_asked_for_is_refused(store):
    artifact = store.put_bytes(b"12345")

    with pytest.raises(TooLarge):
        store.read(artifact.sha256, 4)


def test_files_and_directories_are_private(store, tmp_path):
    store.put_bytes(b"secret")

    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "blobs").rglob("*")}
    assert modes == {0}


def test_a_depot_finds_trees_by_kind_and_refuses_everything_else(store, tmp_path):
    (tmp_path / "snapshots" / "r" / "c").mkdir(parents=True)
    depot = LocalDepot(store, {"snapshots": tmp_path / "snapshots"})

    assert depot.tree("snapshots/r/c") == tmp_path / "snapshots" / "r" / "c"
    for key in [
        "snapshots/r/other",
        "snapshots/../blobs",
        "environments/x",
        "snapshots",
        "snapshots//r/c",
        "/etc",
    ]:
        with pytest.raises(BlobMissing):
            depot.tree(key)

"""Who is to blame when a dead tree cannot be collected: the tree, or the machine."""

import errno
import io
import os
import resource

import pytest

from runners.hostile_tree import HostileTree
from runners.tree_rules import PatchLimits
from sandboxes.errors import BlobMissing, ProviderUnavailable
from sandboxes.ports import Start
from sandboxes.remains import Remains, collect_tree
from sandboxes.spec import Against, Artifact

MACHINE = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EIO]


class Depot:
    def open(self, sha256):
        raise BlobMissing(sha256)

    def put(self, source, max_bytes):
        return Artifact(source.read(max_bytes).decode(), 1)


def collected(collect, tmp_path):
    remains = Remains()
    collect_tree(
        collect,
        Depot(),
        start=Start(tmp_path, io.BytesIO(), Against.BASE),
        tree=tmp_path,
        changed=lambda: None,
        into=tmp_path / "into",
        max_bytes=100,
        remains=remains,
    )
    return remains


def fails(*failures):
    """A collector that fails so, in this order, and then writes its file."""
    left = list(failures)

    def collect(start, tree, changed, into):
        (into / f"of-try-{len(left)}").write_text("whole")
        if left:
            raise left.pop(0)

    return collect


def test_a_tree_that_fails_twice_is_to_blame(tmp_path):
    twice = [OSError(errno.EINVAL, "no"), ValueError("no")]

    remains = collected(fails(*twice), tmp_path)

    assert (remains.uncollected, remains.collected) == ("ValueError: no", {})


def test_what_fails_once_is_tried_again_and_nothing_of_the_first_try_is_kept(tmp_path):
    remains = collected(fails(OSError(errno.EINVAL, "no")), tmp_path)

    assert (remains.uncollected, list(remains.collected)) == ("", ["of-try-0"])


@pytest.mark.parametrize("number", MACHINE, ids=errno.errorcode.get)
def test_a_machine_that_lacks_something_blames_nobody(tmp_path, number):
    with pytest.raises(ProviderUnavailable, match=os.strerror(number)):
        collected(fails(OSError(number, os.strerror(number))), tmp_path)


@pytest.mark.parametrize("error", [BlobMissing("a blob"), ProviderUnavailable("an engine")])
def test_a_platform_that_is_away_blames_nobody(tmp_path, error):
    with pytest.raises(type(error)):
        collected(fails(error), tmp_path)


def test_a_reader_without_descriptors_refuses_no_entry(tmp_path):
    """A real one: the limit of this process, which no agent's tree can reach."""
    (tmp_path / "below").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with HostileTree(tmp_path, PatchLimits()) as tree:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                tree.names(b"below")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

"""Random edits: the patch, applied to a clean checkout, gives exactly the tree that was found.

So does the delta.
"""

import io
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tree_kit import Bench, Files, read_tree, write_tree

from runners.archive import Entry
from runners.hydrate import apply_delta, write_delta

NAMES = st.sampled_from([b"a", b"b", b"c.py", b"dir", b"sub", b"x y", b"\xff", b"new\nline", b"-q"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"one\n", b"two\n", b"three\r\n", b"\n", b"last"]), max_size=30).map(
        b"".join
    ),
)
LINK_TARGETS = st.sampled_from([b"nowhere", b"no/where", b"./nowhere"])
"""None leads to a name of ours: `git apply` cannot make a directory of a link to itself."""
ENTRIES = st.one_of(
    st.tuples(st.sampled_from(["100644", "100755"]), CONTENTS),
    st.tuples(st.just("120000"), LINK_TARGETS),
)


def without_clashes(files: Files) -> Files:
    """A file's path is nobody's directory."""
    return {
        path: entry
        for path, entry in files.items()
        if not any(other.startswith(path + b"/") for other in files)
    }


TREES = st.dictionaries(PATHS, ENTRIES, max_size=12).map(without_clashes)


def touched(base: Files, head: Files) -> set[bytes]:
    """What an overlay's upper directory names: what differs, and all directories above it."""
    paths = {path for path in base.keys() | head.keys() if base.get(path) != head.get(path)}
    return (
        {path[:index] for path in paths for index, byte in enumerate(path) if byte == ord("/")}
        | paths
        | {b""}
    )


@settings(max_examples=30, deadline=None)
@given(base=TREES, head=TREES)
def test_patch_and_delta_carry_any_tree_to_any_other(base, head):
    home = Path(tempfile.mkdtemp())
    try:
        bench = Bench(home, base)
        shutil.rmtree(bench.workspace)
        bench.workspace.mkdir()
        write_tree(bench.workspace, head)

        whole, narrow = bench.collect(None), bench.collect(touched(base, head))

        assert whole == narrow
        patch, changes = whole
        assert changes.refused == ()
        assert bench.applied(patch) == (head, changes.tree)

        delta = io.BytesIO()
        write_delta(
            [
                Entry(path, head[path][0], head[path][1]) if path in head else Entry(path, None)
                for path in base.keys() | head.keys()
                if base.get(path) != head.get(path)
            ],
            delta,
        )
        begun = bench.collect(touched(base, head), delta=delta.getvalue(), from_base=False)
        assert (begun[0], begun[1].tree) == (b"", changes.tree)

        delta.seek(0)
        place = home / "hydrated"
        place.mkdir()
        write_tree(place, base)
        apply_delta(delta, place, os.getuid())
        assert read_tree(place) == head
    finally:
        shutil.rmtree(home)

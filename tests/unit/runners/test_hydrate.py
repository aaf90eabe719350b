import hashlib
import io
import os
import struct

import pytest

from runners.archive import Entry
from runners.hydrate import apply_delta, write_delta


def delta(*entries):
    into = io.BytesIO()
    write_delta(entries, into)
    return into.getvalue()


def forged(*records, count=None):
    """A delta whose checksum is right and whose contents need not be."""
    body = b"vsc-tree 1\n" + b"".join(records)
    return body + struct.pack(
        ">cQ32s", b"E", len(records) if count is None else count, hashlib.sha256(body).digest()
    )


def record(kind, path, contents=b"", length=None):
    return (
        struct.pack(">cIQ", kind, len(path), len(contents) if length is None else length)
        + path
        + contents
    )


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree/d/e").mkdir(parents=True)
    (tmp_path / "tree/d/e/f").write_text("f")
    (tmp_path / "tree/a").write_text("a")
    (tmp_path / "tree/link").symlink_to("d")
    return tmp_path / "tree"


def apply(tree, data):
    apply_delta(io.BytesIO(data), tree, os.getuid())


def test_the_order_of_entries_does_not_matter():
    one, two = Entry(b"a", "100644", b"1"), Entry(b"b", None)

    assert delta(one, two) == delta(two, one)


def test_deleting_the_last_file_takes_its_empty_parents(tree):
    apply(tree, delta(Entry(b"d/e/f", None)))

    assert not (tree / "d").exists()
    assert tree.exists()


def test_files_links_and_directories_change_places(tree):
    entries = [
        Entry(b"d/e/f", None),
        Entry(b"d", "100755", b"a file"),
        Entry(b"a", None),
        Entry(b"a/new", "100644", b"below"),
        Entry(b"link", None),
        Entry(b"link/x", "120000", b"../a"),
    ]

    apply(tree, delta(*entries))

    assert (tree / "d").read_bytes() == b"a file"
    assert (tree / "d").stat().st_mode & 0o777 == 0o755
    assert (tree / "a/new").read_bytes() == b"below"
    assert (tree / "link/x").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_everything_new_belongs_to_the_owner(tree):
    apply_delta(
        io.BytesIO(delta(Entry(b"n/f", "100644", b""), Entry(b"n/l", "120000", b"f"))),
        tree,
        12345,
    )

    assert {(tree / name).lstat().st_uid for name in ("n", "n/f", "n/l")} == {12345}
    assert {(tree / name).lstat().st_gid for name in ("n", "n/f", "n/l")} == {12345}


@pytest.mark.parametrize(
    "path",
    [
        b"", b"/etc/passwd", b"../x", b"a/../../x", b"a//b", b"./a", b"a/", b".git/config",
        b"d/.git", b"d/.GIT/x", b"a\0b", b"n" * 256,
    ],
)  # fmt: skip
def test_paths_that_lead_anywhere_else_are_refused_by_writer_and_reader(tree, path):
    with pytest.raises(ValueError, match=r".+"):
        delta(Entry(path, "100644", b"x"))
    with pytest.raises(ValueError, match=r".+"):
        apply(tree, forged(record(b"F", path, b"x")))


def test_a_link_on_the_way_is_not_followed(tree):
    for data in (
        delta(Entry(b"link/e/g", "100644", b"x")),
        delta(Entry(b"link/e/f", None)),
    ):
        with pytest.raises(ValueError, match="link"):
            apply(tree, data)

    assert [path.name for path in (tree / "d/e").iterdir()] == ["f"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"vsc-tree 1\n",
        delta()[:-1],
        delta() + b"x",
        delta(Entry(b"n", "100644", b"n"))[:-20],
        delta(Entry(b"n", "100644", b"n")).replace(b"n", b"m"),
        forged(record(b"F", b"n", b"x"), count=2),
        forged(record(b"F", b"n", b"x", length=2**60)),
        forged(record(b"F", b"n", b"x"), record(b"F", b"n", b"y")),
        forged(record(b"F", b"o", b"x"), record(b"F", b"n", b"y")),
        forged(record(b"Q", b"n", b"x")),
        forged(record(b"D", b"a", b"x")),
        forged(record(b"T", b"n")),
        forged(record(b"L", b"n")),
        forged(b"\0\0\0"),
    ],
)  # fmt: skip
def test_a_malformed_delta_changes_nothing(tree, data):
    with pytest.raises(ValueError, match=r".+"):
        apply(tree, data)

    assert sorted(path.name for path in tree.rglob("*")) == ["a", "d", "e", "f", "link"]


@pytest.mark.parametrize(
    "entry", [Entry(b"missing", None), Entry(b"d", None), Entry(b"d", "100644", b"")]
)
def test_a_delta_for_another_tree_is_refused(tree, entry):
    with pytest.raises(ValueError, match=r"missing|b'd'"):
        apply(tree, delta(entry))


def test_a_mode_that_git_does_not_have_is_refused():
    with pytest.raises(ValueError, match="mode"):
        delta(Entry(b"a", "104755", b""))

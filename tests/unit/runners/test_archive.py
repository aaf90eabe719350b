"""The archive form and its unpacker: exact, the same for everybody, and nothing leads out of it."""

import hashlib
import io
import os
import stat
import struct

import pytest

from runners.archive import Caps, Entry, Writer, members, write_archive
from runners.unpack import FILES_NS, GIT_NS, unpack

OWNER = 12345 if os.geteuid() == 0 else os.geteuid()
ENTRIES = [
    Entry(b".git/refs", "040000"),
    Entry(b".git/index", "100644", b"DIRC"),
    Entry(b"a", "100644", b"1"),
    Entry(b"d-", "100755", b"#!/bin/sh\n"),
    Entry(b"d/e/f", "100644", b""),
    Entry(b"d/e/l", "120000", b"../../nowhere"),
    Entry(b"empty", "040000"),
    Entry(b"d.txt", "100644", b"between d- and d/"),
    Entry(b"\xff\nodd", "100644", b"odd"),
]


def archive(*entries):
    into = io.BytesIO()
    write_archive(entries, into)
    return into.getvalue()


def forged(*records):
    """Whatever the records say, under a right checksum."""
    body = b"vsc-tree 1\n" + b"".join(records)
    return body + struct.pack(">cQ32s", b"E", len(records), hashlib.sha256(body).digest())


def record(kind, path, contents=b""):
    return struct.pack(">cIQ", kind, len(path), len(contents)) + path + contents


@pytest.fixture
def into(tmp_path):
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def made(tree, data, caps=None):
    return unpack(io.BytesIO(data), tree, OWNER, *([caps] if caps else []))


def test_what_was_written_is_read_whatever_the_order():
    data = archive(*ENTRIES)

    found = [Entry(one.path, one.mode, one.read()) for one in members(io.BytesIO(data))]

    assert found == sorted(ENTRIES, key=lambda entry: entry.path)
    assert archive(*reversed(ENTRIES)) == data


def test_contents_need_not_be_read_and_may_be_read_in_pieces():
    pieces = {}
    for one in members(
        io.BytesIO(archive(Entry(b"a", "100644", b"skip"), Entry(b"b", "100644", b"abc")))
    ):
        if one.path == b"b":
            pieces[one.path] = [one.read(2), one.read(2), one.read(2)]

    assert pieces == {b"b": [b"ab", b"c", b""]}


def test_unpacked_with_modes_times_links_and_owners(into):
    size = made(into, archive(*ENTRIES))

    for entry in ENTRIES:
        path = into / os.fsdecode(entry.path)
        status = path.lstat()
        assert status.st_uid == status.st_gid == OWNER
        assert status.st_mtime_ns == (GIT_NS if entry.path.startswith(b".git/") else FILES_NS)
        if entry.mode == "120000":
            assert os.fsencode(path.readlink()) == entry.contents
        elif entry.mode == "040000":
            assert list(path.iterdir()) == []
        else:
            assert path.read_bytes() == entry.contents
            assert stat.S_IMODE(status.st_mode) == (0o755 if entry.mode == "100755" else 0o644)
    for path in (into, into / "d", into / "d/e", into / ".git"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert path.stat().st_uid == OWNER
    assert (into / "d").stat().st_mtime_ns == FILES_NS
    assert size >= 4096 * (len(ENTRIES) - 2)


@pytest.mark.parametrize(
    "entries",
    [
        (Entry(b"a", "100644"), Entry(b"a/b", "100644")),
        (Entry(b"a", "120000", b"/etc"), Entry(b"a/b", "100644")),
        (Entry(b"a", "120000", b"."), Entry(b"a/b/c", "040000")),
        (Entry(b"a", "040000"), Entry(b"a/b", "100644"), Entry(b"a/b/c", "100644")),
    ],
)
def test_nothing_lies_below_a_file_or_behind_a_link(into, entries):
    with pytest.raises(ValueError, match="in its way"):
        made(into, archive(*entries))


def test_a_directory_may_have_a_record_and_contents(into):
    made(into, archive(Entry(b"a", "040000"), Entry(b"a/b", "100644", b"x")))

    assert (into / "a/b").read_bytes() == b"x"


@pytest.mark.parametrize(
    "path", [b"", b"/etc/x", b"../x", b"a/../x", b"a//b", b"./a", b"a/", b"a\0b", b"n" * 256]
)
def test_a_path_that_leads_elsewhere_is_refused_by_writer_and_reader(into, path):
    with pytest.raises(ValueError, match=r"path|name"):
        archive(Entry(path, "100644"))
    with pytest.raises(ValueError, match=r"path|name"):
        made(into, forged(record(b"F", path)))

    assert list(into.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"vsc-tree 2\n" + archive()[11:],
        archive()[:-1],
        archive() + b"x",
        archive(Entry(b"n", "100644", b"n"))[:-20],
        archive(Entry(b"n", "100644", b"n")).replace(b"n", b"m"),
        archive(Entry(b"n", "100644", b"n"))[:20],
        forged(record(b"F", b"n"), record(b"F", b"n")),
        forged(record(b"F", b"o"), record(b"F", b"n")),
        forged(record(b"Q", b"n")),
        forged(record(b"T", b"n", b"x")),
        forged(record(b"L", b"n", b"")),
        forged(record(b"L", b"n", b"x" * 5000)),
        forged(struct.pack(">cIQ", b"F", 2**31, 0)),
        forged(struct.pack(">cIQ", b"F", 1, 2**60) + b"n"),
        forged(record(b"D", b"n")),
    ],
)  # fmt: skip
def test_a_malformed_archive_is_refused(into, data):
    with pytest.raises(ValueError, match=r".+"):
        made(into, data)


def test_caps_are_kept(into):
    data = archive(Entry(b"a", "100644", b"12345"), Entry(b"b", "100644", b"12345"))

    with pytest.raises(ValueError, match="more than 1 entries"):
        made(into, data, Caps(entries=1))
    (into / "a").unlink()
    with pytest.raises(ValueError, match="9 bytes"):
        made(into, data, Caps(total_bytes=9))


def test_a_tree_that_is_too_deep_is_refused(into):
    with pytest.raises(ValueError, match="deep"):
        made(into, archive(Entry(b"d/" * 300 + b"f", "100644")))


def test_a_file_that_shrinks_while_it_is_packed_is_said():
    with pytest.raises(ValueError, match="fewer bytes"):
        Writer(io.BytesIO()).add_from(b"a", "100644", 3, io.BytesIO(b"12"))

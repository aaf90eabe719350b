import gzip
import io
import struct
import tarfile
import zipfile

import pytest

from control_plane.repos.archives import ArchiveLimits, ArchiveRefused, read_archive


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(path, *members, mode="w:gz"):
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_source_archive_loses_its_top_directory_and_keeps_bytes_and_modes(tmp_path):
    path = tar(
        tmp_path / "a.tar.gz",
        member("pkg-1.0", type=tarfile.DIRTYPE),
        member("pkg-1.0/a.py", b"a\r\n", mode=0o644),
        member("pkg-1.0/bin/run", b"#!", mode=0o755),
        member("pkg-1.0/bin/link", type=tarfile.SYMTYPE, linkname="run"),
    )

    found = [(entry.path, entry.mode, entry.content) for entry in read_archive(path)]

    assert found == [
        (b"a.py", "100644", b"a\r\n"),
        (b"bin/link", "120000", b"run"),
        (b"bin/run", "100755", b"#!"),
    ]


def test_an_archive_with_two_tops_is_taken_as_it_is(tmp_path):
    path = tar(tmp_path / "a.tar", member("a/x", b"1"), member("b/x", b"2"), mode="w")

    assert [entry.path for entry in read_archive(path)] == [b"a/x", b"b/x"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("p/../../x", b"1"), r"p/\.\./\.\./x: a path component '\.\.'"),
        (member("/etc/cron.d/x", b"1"), "absolute"),
        (member("p/.git/config", b"1"), r"\.git/config: .*for \.git"),
        (
            member("p/l", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            "p/l: a link to an absolute path",
        ),
        (member("p/l", type=tarfile.SYMTYPE, linkname="../../x"), "p/l: a link out of the tree"),
        (member("p/h", type=tarfile.LNKTYPE, linkname="p/ok"), "p/h: a hard link"),
        (member("p/d", type=tarfile.CHRTYPE), "p/d: a character device"),
        (member("p/d", type=tarfile.BLKTYPE), "p/d: a block device"),
        (member("p/f", type=tarfile.FIFOTYPE), "p/f: a fifo"),
        (member("p/ok", b"again"), "p/ok: twice"),
        (member("p/ok/below", b"1"), "p/ok: a file and a directory"),
    ],
)
def test_what_is_no_source_file_refuses_the_archive_by_name(tmp_path, bad, said):
    path = tar(tmp_path / "a.tar.gz", member("p/ok", b"1"), bad)

    with pytest.raises(ArchiveRefused, match=said):
        read_archive(path)


def test_a_link_that_leaves_once_the_top_is_stripped_is_refused(tmp_path):
    path = tar(
        tmp_path / "a.tar.gz",
        member("p/ok", b"1"),
        member("p/l", type=tarfile.SYMTYPE, linkname="../p/ok"),
    )

    with pytest.raises(ArchiveRefused, match="l: a link out of the tree"):
        read_archive(path)


def test_a_write_through_a_link_of_the_archive_is_refused(tmp_path):
    path = tar(
        tmp_path / "a.tar.gz",
        member("p/l", type=tarfile.SYMTYPE, linkname="d"),
        member("p/l/x", b"1"),
    )

    with pytest.raises(ArchiveRefused, match="p/l: a file and a directory"):
        read_archive(path)


SMALL = ArchiveLimits(archive_bytes=1 << 20, members=10, file_bytes=1 << 16, total_bytes=1 << 20)


def test_bombs_meet_a_cap(tmp_path):
    many = tar(tmp_path / "many.tar.gz", *(member(f"p/{i}") for i in range(11)))
    large = tar(tmp_path / "large.tar.gz", member("p/x", b"\0" * (1 << 17)))
    packed = tmp_path / "packed.tar.gz"
    packed.write_bytes(gzip.compress(b"\0" * (1 << 22)))
    wide = tmp_path / "wide.tar"
    wide.write_bytes(b"x" * (1 << 21))
    for path, said in [
        (many, "10 members"),
        (large, "p/x: more than"),
        (packed, "unpacks"),
        (wide, "larger than"),
    ]:
        with pytest.raises(ArchiveRefused, match=said):
            read_archive(path, SMALL)


def test_a_giant_header_costs_no_memory(tmp_path):
    info = tarfile.TarInfo("p/x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf() + b"\0" * 2048)

    with pytest.raises(ArchiveRefused, match="header of 1073741824 bytes"):
        read_archive(path)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_an_archive_that_was_cut_off_is_refused(tmp_path, keep):
    import random

    noise = random.Random(1).randbytes(300_000)  # noqa: S311 -- bytes that do not compress, the same every time
    whole = tar(tmp_path / "a.tar.gz", member("p/a", noise), member("p/b", noise)).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: int(len(whole) * keep)])

    with pytest.raises(ArchiveRefused):
        read_archive(tmp_path / "cut.tar.gz")


def test_a_plain_tar_cut_inside_its_last_file_is_refused(tmp_path):
    whole = tar(tmp_path / "a.tar", member("p/a", b"x" * 2000), mode="w").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1500])

    with pytest.raises(ArchiveRefused):
        read_archive(tmp_path / "cut.tar")


def test_noise_is_no_archive(tmp_path):
    (tmp_path / "x").write_bytes(b"not an archive at all" * 100)

    with pytest.raises(ArchiveRefused, match="not an archive"):
        read_archive(tmp_path / "x")


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def test_a_zip_gives_the_same_entries(tmp_path):
    path = zip_of(
        tmp_path / "a.zip", ("p/", b"", 0o40755), ("p/x", b"1", 0o100755), ("p/l", b"x", 0o120777)
    )

    assert [(e.path, e.mode, e.content) for e in read_archive(path)] == [
        (b"l", "120000", b"x"),
        (b"x", "100755", b"1"),
    ]


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("p/../../x", 0o100644, "path component"),
        ("p/f", 0o010644, "special file"),
        ("/x", 0o100644, "absolute"),
    ],
)
def test_a_hostile_zip_is_refused_by_name(tmp_path, name, mode, said):
    path = zip_of(tmp_path / "a.zip", ("p/ok", b"1", 0o100644), (name, b"x", mode))

    with pytest.raises(ArchiveRefused, match=said):
        read_archive(path)


def test_a_zip_whose_members_share_bytes_is_refused(tmp_path):
    path = zip_of(
        tmp_path / "a.zip", ("a", b"\0" * 10_000, 0o100644), ("b", b"\0" * 10_000, 0o100644)
    )
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 4)  # b's header now lies inside a's
    path.write_bytes(raw)

    with pytest.raises(ArchiveRefused, match="overlaps"):
        read_archive(path)


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", ("a", b"\0" * 100_000, 0o100644))
    raw = bytearray(path.read_bytes())
    central = raw.rindex(b"PK\x01\x02")
    raw[central + 24 : central + 28] = struct.pack("<I", 10)
    path.write_bytes(raw)

    with pytest.raises(ArchiveRefused):
        read_archive(path)

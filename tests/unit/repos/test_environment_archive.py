import hashlib
import io
import stat
import tarfile

import pytest

from control_plane.repos.environments.archive import (
    EnvironmentLimits,
    EnvironmentRefused,
    Environments,
)
from control_plane.repos.environments.detect import detect
from control_plane.repos.environments.facts import environment

SITE = "lib/python3.13/site-packages"


def env_tar(path, *members):
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        made = set()
        for name, content, fields in members:
            for depth in range(1, name.count("/") + 1):
                folder = "/".join(name.split("/")[:depth])
                if folder not in made and not fields.get("bare"):
                    made.add(folder)
                    info = tarfile.TarInfo(folder)
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(info)
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            for field, value in fields.items():
                if field != "bare":
                    setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def file(name, content=b"", **fields):
    return name, content, fields


def link(name, target, **fields):
    return name, b"", {"type": tarfile.SYMTYPE, "linkname": target, **fields}


async def test_an_environment_is_unpacked_whole_readable_and_once(tmp_path):
    path, sha256 = env_tar(
        tmp_path / "env.tar",
        file("bin/python", b"\x7fELF", mode=0o755),
        link("lib64", "lib"),
        file(f"{SITE}/a.py", b"a"),
    )
    environments = Environments(tmp_path / "environments")

    key = await environments.install(path, sha256)

    tree = environments.path(sha256)
    assert key == f"environments/{sha256}"
    assert (tree / "lib64" / "python3.13" / "site-packages" / "a.py").read_bytes() == b"a"
    assert stat.S_IMODE((tree / "bin" / "python").stat().st_mode) == 0o755
    assert stat.S_IMODE(tree.stat().st_mode) == 0o755
    path.unlink()
    assert await environments.install(path, sha256) == key  # it is there


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (file("../out", b"1", bare=True), "path component"),
        (file("/etc/x", b"1", bare=True), "absolute"),
        (link("bin/python3", "/usr/bin/python3"), "absolute path"),
        (link("l", "../x"), "out of the tree"),
        (file("h", type=tarfile.LNKTYPE, linkname="ok"), "neither"),
        (file("d", type=tarfile.CHRTYPE), "neither"),
        (file("f", type=tarfile.FIFOTYPE), "neither"),
        (file("s", b"1", mode=0o4755), "setuid"),
        (file("ok", b"2"), "exists"),
        (file("nowhere/x", b"1", bare=True), "No such file"),
    ],
)
async def test_what_an_environment_must_not_hold_refuses_it_whole(tmp_path, bad, said):
    path, sha256 = env_tar(tmp_path / "env.tar", file("ok", b"1"), bad)
    environments = Environments(tmp_path / "environments")

    with pytest.raises(EnvironmentRefused, match=said):
        await environments.install(path, sha256)

    assert [path.name for path in (tmp_path / "environments").iterdir()] == [f"{sha256}.lock"]
    assert not (tmp_path / "out").exists()


async def test_a_write_below_a_link_and_a_way_out_through_two_links_are_refused(tmp_path):
    below = env_tar(
        tmp_path / "below.tar", file("d/ok", b"1"), link("l", "d"), file("l/x", b"1", bare=True)
    )
    chain = env_tar(tmp_path / "chain.tar", file("a/b/c/ok", b"1"), file("top/ok", b"1"), link("a/b/c/up", "../../../top"),
                    link("out", "a/b/c/up/../../x"))  # fmt: skip
    environments = Environments(tmp_path / "environments")

    with pytest.raises(EnvironmentRefused, match="below a link"):
        await environments.install(*below)
    with pytest.raises(EnvironmentRefused, match="through another link"):
        await environments.install(*chain)


async def test_caps_other_bytes_and_half_an_archive(tmp_path):
    path, sha256 = env_tar(tmp_path / "env.tar", file("a", b"x" * 5000), file("b", b"y"))
    with pytest.raises(EnvironmentRefused, match="more than"):
        await Environments(tmp_path / "1", EnvironmentLimits(total_bytes=5000)).install(
            path, sha256
        )
    with pytest.raises(EnvironmentRefused, match="more than"):
        await Environments(tmp_path / "2", EnvironmentLimits(members=1)).install(path, sha256)
    with pytest.raises(EnvironmentRefused, match="not the one"):
        await Environments(tmp_path / "3").install(path, "0" * 64)
    with pytest.raises(EnvironmentRefused, match="sha256"):
        await Environments(tmp_path / "3").install(path, "../x")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(EnvironmentRefused):
        await Environments(tmp_path / "4").install(
            path, hashlib.sha256(path.read_bytes()).hexdigest()
        )


def test_facts_come_from_metadata_and_nothing_hostile_stops_them(tmp_path):
    def dist(name, metadata, entry_points=None):
        folder = tmp_path / SITE / f"{name}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_bytes(metadata)
        if entry_points is not None:
            (folder / "entry_points.txt").write_bytes(entry_points)

    dist("pytest-8.0", b"Name: pytest\nVersion: 8.0\n")
    dist(
        "pytest_cov-5",
        b"Name: pytest_cov\nVersion: 5\n",
        b"[console_scripts]\nx = y:z\n\n[pytest11]\nPytest_Cov = pytest_cov.plugin\n",
    )
    dist("bad-1", b"\xff\xfe", b"[pytest11\n\xff")
    dist("empty-1", b"")
    (tmp_path / SITE / "links-1.dist-info").mkdir()
    (tmp_path / SITE / "links-1.dist-info" / "METADATA").symlink_to("/dev/zero")
    recipe = detect({}, {"test-requirements.txt": b"pytest-cov\n"}, {})

    facts = environment(tmp_path, "0" * 64, "sha256:1", recipe, ("said",))

    assert facts.installed == {"pytest": "8.0", "pytest-cov": "5"}
    assert facts.pytest_plugins == ("Pytest_Cov",)
    assert facts.own_pytest
    assert facts.python == "/env/bin/python"
    assert facts.notes[-1] == "said"

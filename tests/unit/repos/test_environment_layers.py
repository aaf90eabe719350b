"""What a `prepare` sandbox left: taken layer by layer, or refused whole."""

import hashlib
import io
import json
import struct

import pytest

from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.repos.environments import inside
from control_plane.repos.environments.detect import detect
from control_plane.repos.environments.facts import environment
from control_plane.repos.environments.layers import (
    EnvironmentLimits,
    EnvironmentRefused,
    take_layers,
)
from quality_gates.where import MADE
from runners.archive import Entry, write_archive
from runners.unpack import unpack
from sandboxes.tree_cache import TreeCache

SITE = "lib/python3.13/site-packages"


def archive(*entries):
    into = io.BytesIO()
    write_archive(entries, into)
    return into.getvalue()


def outer(**layers):
    return archive(*(Entry(name.encode(), "100644", layer) for name, layer in layers.items()))


def file(name, content=b"", mode="100644"):
    return Entry(name.encode(), mode, content)


def link(name, target):
    return Entry(name.encode(), "120000", target.encode())


@pytest.fixture
def depot(tmp_path):
    return LocalDepot(DirectoryBlobs(tmp_path / "blobs"))


@pytest.fixture
def take(depot):
    return lambda data, *limits: take_layers(io.BytesIO(data), depot, *limits)


def test_layers_are_blobs_of_which_a_provider_makes_one_tree(take, depot, tmp_path):
    one = archive(file(f"{SITE}/a.py", b"a"))
    rest = archive(file("bin/python", b"\x7fELF", "100755"), link("lib64", "lib"))

    layers = take(outer(one=one, rest=rest))

    cache = TreeCache(tmp_path / "cache", depot, unpack, 2**30)
    tree = cache.use(layers.blobs, 0, "u")
    assert (tree / "lib64" / "python3.13" / "site-packages" / "a.py").read_bytes() == b"a"
    assert (tree / "bin" / "python").stat().st_mode & 0o777 == 0o755
    assert layers.sha256 == hashlib.sha256(json.dumps(layers.blobs).encode()).hexdigest()


def test_what_the_build_made_is_told_by_its_places_in_the_workspace(take):
    rest = archive(file("share/vsc-made/src/p/_version.py", b"1"), file("share/vsc-madex", b"2"))

    assert take(outer(rest=rest)).made == ("src/p/_version.py",)
    assert f"/env/{inside.MADE}" == MADE, "the program in the sandbox imports nothing of ours"


def test_environments_share_the_layers_that_they_have_in_common(take):
    shared = archive(file(f"{SITE}/a.py", b"a"))

    first = take(outer(a=shared, rest=archive(file("x", b"1"))))
    second = take(outer(a=shared, rest=archive(file("x", b"2"))))

    assert first.blobs[0] == second.blobs[0]
    assert first.sha256 != second.sha256


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (link("bin/python3", "/usr/bin/python3"), "absolute path"),
        (link("l", "../x"), "out of the tree"),
        (file(".git/hooks/x"), "takes for .git"),
        (Entry(b"gone", None), "a deletion"),
        (file("ok", b"2"), "in two layers"),
        (file("ok/below"), "a file or link, and a directory"),
        (file("loop/below"), "a file or link, and a directory"),
        (link("dir", "ok"), "a file or link, and a directory"),
        (file("/".join("d" * 80)), "directories deep"),
    ],
)
def test_what_an_environment_must_not_hold_refuses_it_whole(take, bad, said):
    good = archive(file("ok", b"1"), link("loop", "loop"), file("dir/x"))

    with pytest.raises(EnvironmentRefused, match=said):
        take(outer(good=good, more=archive(bad)))


@pytest.mark.parametrize("path", [b"../out", b"/etc/x", b"a/../../x"])
def test_a_path_that_leads_out_is_refused(take, path):
    body = b"vsc-tree 1\n" + struct.pack(">cIQ", b"F", len(path), 0) + path
    forged = body + struct.pack(">cQ32s", b"E", 1, hashlib.sha256(body).digest())

    with pytest.raises(EnvironmentRefused, match="plain relative path"):
        take(outer(rest=forged))


def test_a_way_out_through_two_links_is_refused_over_layers_too(take):
    one = archive(link("a/b/c/up", "../../../top"), file("top/ok"))
    two = archive(link("out", "a/b/c/up/../../x"))

    with pytest.raises(EnvironmentRefused, match="through another link"):
        take(outer(one=one, two=two))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        archive(file("a"))[:-1],
        outer(rest=archive(file("a", b"x" * 100))[:-50]),
        outer(rest=b"not an archive"),
        archive(link("rest", "x")),
    ],
)
def test_what_is_no_list_of_layers_is_refused(take, data):
    with pytest.raises(EnvironmentRefused):
        take(data)


def test_caps_bind_all_layers_together(take):
    data = outer(a=archive(file("a", b"x" * 500)), b=archive(file("b", b"y" * 500)))

    for limits in (
        EnvironmentLimits(layers=1),
        EnvironmentLimits(entries=1),
        EnvironmentLimits(total_bytes=1000),
    ):
        with pytest.raises(EnvironmentRefused, match="more than"):
            take(data, limits)


def test_facts_come_from_metadata_and_nothing_hostile_stops_them(take):
    def dist(name, metadata, entry_points=None):
        folder = f"{SITE}/{name}.dist-info"
        files = [file(f"{folder}/METADATA", metadata)]
        if entry_points is not None:
            files.append(file(f"{folder}/entry_points.txt", entry_points))
        return archive(*files)

    layers = take(
        outer(
            a=dist("pytest-8.0", b"Name: pytest\nVersion: 8.0\n"),
            b=dist(
                "pytest_cov-5",
                b"Name: pytest_cov\nVersion: 5\n",
                b"[console_scripts]\nx = y:z\n\n[pytest11]\nPytest_Cov = pytest_cov.plugin\n",
            ),
            c=dist("bad-1", b"\xff\xfe", b"[pytest11\n\xff"),
            d=dist("empty-1", b""),
            e=archive(link(f"{SITE}/links-1.dist-info/METADATA", "../zero")),
            f=dist("giant-1", b"Name: giant\nVersion: 1\n" + b"x" * 2**23),
        )
    )
    recipe = detect({}, {"test-requirements.txt": b"pytest-cov\n"}, {})

    facts = environment(layers, "sha256:1", recipe, ("said",))

    assert facts.installed == {"pytest": "8.0", "pytest-cov": "5"}
    assert facts.sha256 == layers.sha256
    assert facts.pytest_plugins == ("Pytest_Cov",)
    assert facts.own_pytest
    assert (facts.python, facts.python_version) == ("/env/bin/python", (3, 13))
    assert facts.notes[-1] == "said"

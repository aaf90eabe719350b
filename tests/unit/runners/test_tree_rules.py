from hypothesis import given
from hypothesis import strategies as st

from runners.changes import ChangedEntry, Changes, RefusedEntry, path_from_json, path_to_json
from runners.tree_rules import PatchLimits, components, fold, is_dot_git, refused_link, refused_name


@given(st.binary(max_size=40))
def test_a_path_is_plain_or_refused(path):
    try:
        names = components(path)
    except ValueError:
        assert refused_name(path, PatchLimits()) is not None
    else:
        assert b"/".join(names) == path
        assert not {b"", b".", b".."} & set(names)


@given(
    st.lists(st.sampled_from([b"..", b".", b"", b"a", b"b"]), min_size=1, max_size=8),
    st.integers(0, 3),
)
def test_no_link_that_is_taken_leaves_the_tree(target, depth):
    path = b"/".join([b"d"] * depth + [b"link"])
    joined = b"/".join(target)

    if refused_link(path, joined) is None:
        at = depth
        for name in joined.split(b"/"):
            at += {b"..": -1, b".": 0, b"": 0}.get(name, 1)
            assert at >= 0
        assert not joined.startswith(b"/")


@given(
    st.sampled_from([".git", ".GIT", ".Git", "git~1", "GIT~1"]),
    st.sampled_from(["", " ", ".", ". .", "::$DATA", ":x"]),
    st.sampled_from(["", "\u200c", "\u200d", "\ufeff", "\u202e"]),
    st.integers(0, 4),
)
def test_every_spelling_of_the_git_directory_is_known(name, tail, ignorable, at):
    assert is_dot_git((name[:at] + ignorable + name[at:] + tail).encode())


def test_names_that_only_look_alike_are_fine():
    for name in (
        b".gitignore",
        b".github",
        b"git",
        b".gitattributes",
        b"x.git",
        b"agit~1",
        b".git-blame-ignore-revs",
        b"\xff",
    ):
        assert not is_dot_git(name), name


def test_names_fold_alike_exactly_if_some_file_system_confuses_them():
    same = [
        ("README", "readme"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u00c9", "e\u0301"),
        ("stra\u00dfe", "STRASSE"),
    ]
    other = [("a", "b"), ("cafe", "caf\u00e9"), ("a.py", "a.pyc"), ("o", "\u00f8")]

    assert all(fold(one.encode()) == fold(two.encode()) for one, two in same)
    assert all(fold(one.encode()) != fold(two.encode()) for one, two in other)
    assert fold(b"\xff") != fold(b"\xfe")


@given(st.binary(max_size=30))
def test_any_path_survives_json(path):
    assert path_from_json(path_to_json(path)) == path


def test_changes_survive_json(tmp_path):
    from runners.changes import changes_from_json

    changes = Changes(
        "t",
        (ChangedEntry(b"\xff", None, "100644", None, "b"),),
        (RefusedEntry(b"", "r"),),
        ("n",),
        (b"\xff", b"a"),
    )
    (tmp_path / "c").write_text(changes.to_json())

    assert changes_from_json((tmp_path / "c").read_bytes()) == changes

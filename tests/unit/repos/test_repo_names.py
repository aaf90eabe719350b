import pytest

from control_plane.repos.names import link_refusal, refusal


@pytest.mark.parametrize(
    "path",
    [
        b"a/../b", b"../a", b"/etc/passwd", b"./a", b"a//b", b"", b"a/", b".git/config",
        b"x/.GIT/hooks", b"GIT~1/config", b"a/.git. .", ".g\u200cit/config".encode(),
        b".git::$INDEX_ALLOCATION/x", b"a" * 256, b"a/" * 70 + b"b", b"a\0b",
    ],
)  # fmt: skip
def test_a_name_that_could_be_something_else_is_refused(path):
    assert refusal(path)


@pytest.mark.parametrize(
    "path",
    [b".gitignore", b".github/x", b"-rf", b'a"b\\c\nd', b"\xff\xfe", b"a" * 255, b"git~x", b"..."],
)
def test_odd_names_are_names(path):
    assert refusal(path) is None


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../x", b"..", b"x/../../..", b""])
def test_a_link_that_leaves_the_tree_is_refused(target):
    assert link_refusal(b"link", target)


def test_a_link_inside_the_tree_is_text():
    assert link_refusal(b"a/link", b"../b/c") is None

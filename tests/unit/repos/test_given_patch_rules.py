"""What of a patch that somebody brings is refused: the pure rules, with the words of dehydrate."""

import pytest

from control_plane.repos.given_patches import LEFT_OUT, MOST_TOLD, Facts, refusals, told
from control_plane.repos.trees import Difference, Listed
from runners.tree_rules import PatchLimits

LIMITS = PatchLimits(files=3, file_bytes=100, total_bytes=150)


def added(path, mode="100644", blob="b"):
    return Difference(path, None, Listed(mode, blob))


def changed(path, mode="100644", blob="b"):
    return Difference(path, Listed("100644", "a"), Listed(mode, blob))


def refused(*differing, sizes=None, **facts):
    return refusals(
        differing,
        Facts(sizes={"b": 1} | (sizes or {}), links=facts.pop("links", {}), **facts),
        LIMITS,
    )


def test_an_ordinary_change_is_taken():
    gone = Difference(b"old.py", Listed("100644", "a"), None)

    assert refused(added(b"new.py"), changed(b"a.py", "100755"), gone) == []


@pytest.mark.parametrize(
    ("difference", "facts", "why"),
    [
        (added(b"__pycache__/a.cpython-311.pyc"), {}, LEFT_OUT),
        (added(b"local.py"), {"ignored": {b"local.py"}}, LEFT_OUT),
        (added(b"vendor", "160000"), {}, LEFT_OUT),
        (Difference(b"vendor", Listed("160000", "a"), None), {}, LEFT_OUT),
        (added(b"vendor/a.py"), {"in_submodule": {b"vendor/a.py"}}, "lies in a submodule"),
        (added(b"con.txt"), {}, "'con.txt' is a device on Windows"),
        (added(b"big"), {"sizes": {"b": 101}}, "101 bytes; at most 100 are taken"),
        (changed(b"big"), {"sizes": {"b": 101}}, "101 bytes; at most 100 are taken"),
        (added(b"a", "120000"), {"links": {"b": b"/etc"}}, "a link to the absolute path b'/etc'"),
        (added(b"a", "120000"), {"sizes": {"b": 99}}, "a link whose target has 99 bytes"),
        (added(b"A.py"), {"twins": {b"A.py": b"a.py"}}, "some file systems take it for b'a.py'"),
    ],
)
def test_what_cannot_be_judged_is_named(difference, facts, why):
    assert refused(difference, **facts) == [(difference.path, why)]


def test_a_git_directory_is_named_where_it_begins():
    [(path, why)] = refused(added(b"sub/.GIT/hooks/post-checkout"))

    assert (path, why) == (
        b"sub/.GIT",
        "a git directory inside the repository hides what lies in it",
    )


def test_what_the_base_has_may_stay_as_it_is_named():
    assert refused(changed(b"con.txt"), changed(b"__pycache__/kept.pyc")) == []


def test_a_change_that_is_too_much_is_refused_as_a_whole():
    many = [added(b"%d" % number) for number in range(4)]

    assert refused(*many, sizes={"b": 50}) == [
        (b"", "more than 3 files changed"),
        (b"", "the changed files have more than 150 bytes"),
    ]


def test_the_first_are_told_by_name_and_the_rest_by_number():
    lines = told([(b"", "why")] + [(b"%d" % number, "no") for number in range(MOST_TOLD + 1)])

    assert lines[0] == "the change: why"
    assert len(lines) == MOST_TOLD + 1
    assert lines[-1] == "the change: 2 more entries like these"

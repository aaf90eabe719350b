"""What a session left, as its row, its cause and its report tell it."""

import hashlib

import pytest

from control_plane.orchestrator.session_runs import MAX_REFUSED, Left, told_refusals
from runners.changes import RefusedEntry


def test_so_many_are_named_and_the_rest_is_counted():
    entries = [RefusedEntry(b"pipe-%d" % n, "a pipe") for n in range(MAX_REFUSED + 7)]

    told = told_refusals(entries)

    assert len(told) == MAX_REFUSED + 1
    assert told[0] == "pipe-0: a pipe"
    assert told[-1] == "the change: 7 more entries cannot be taken"
    assert told_refusals(entries[:MAX_REFUSED]) == told[:-1]


def test_the_tree_as_a_whole_and_odd_names_have_words_and_no_entry_is_long():
    told = told_refusals([RefusedEntry(b"", "too deep"), RefusedEntry(b"\xff" * 4000, "odd")])

    assert told[0] == "the change: too deep"
    assert len(told[1]) == 1000


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Left(patch_sha256="a" * 64), "kept as the run's patch"),
        (Left(document_sha256="a" * 64), "kept as the run's document"),
        (Left(), ""),
        (Left(patch_sha256=hashlib.sha256(b"").hexdigest()), ""),
    ],
)
def test_a_failure_names_what_is_kept_and_promises_nothing_else(left, words):
    assert left.kept.endswith(words)
    assert bool(left.kept) is bool(words)

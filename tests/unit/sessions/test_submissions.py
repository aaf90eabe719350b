"""Which submitted document is taken, and which counts, whatever the order of submits."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.sessions.submissions import (
    MOST_INVALID,
    MOST_VALID,
    Submitted,
    accepted,
    refusal,
    rejected,
    what_counts,
)

HASHES = st.sampled_from([letter * 64 for letter in "abc"])
SUBMITS = st.lists(st.tuples(HASHES, st.booleans()), max_size=60)
FILES = st.none() | st.just("f" * 64)


def played(submits):
    """The state after each submit, and which were looked at."""
    so_far, steps = Submitted(), []
    for sha256, valid in submits:
        taken = not refusal(so_far, sha256)
        if taken:
            so_far = accepted(so_far, sha256) if valid else rejected(so_far)
        steps.append((sha256, valid, taken, so_far))
    return so_far, steps


@given(SUBMITS)
def test_after_three_invalid_ones_nothing_is_looked_at_and_never_sooner(submits):
    _, steps = played(submits)
    invalid = 0
    for _, valid, taken, _ in steps:
        if invalid == MOST_INVALID:
            assert not taken
        invalid += taken and not valid
    assert invalid <= MOST_INVALID


@given(SUBMITS)
def test_the_newest_valid_one_that_was_taken_stands(submits):
    so_far, steps = played(submits)
    standing = None
    for sha256, valid, taken, after in steps:
        standing = sha256 if taken and valid else standing
        assert after.document_sha256 == standing
    assert so_far.valid <= MOST_VALID


@given(SUBMITS, FILES)
def test_a_submitted_one_counts_before_a_file_and_a_file_only_while_tries_are_left(submits, file):
    so_far, _ = played(submits)
    counts = what_counts(so_far, file, "there is no file")

    if so_far.document_sha256 is not None:
        assert (counts.sha256, counts.checked) == (so_far.document_sha256, True)
    elif so_far.invalid == MOST_INVALID:
        assert counts.sha256 is None
        assert "3 submitted documents were invalid" in counts.why
    else:
        assert (counts.sha256, counts.checked) == (file, False)
        assert ("there is no file" in counts.why) == (file is None)


def test_documents_have_a_number_but_the_last_one_may_be_sent_again():
    so_far = Submitted()
    for n in range(MOST_VALID):
        assert not refusal(so_far, f"{n:064x}")
        so_far = accepted(so_far, f"{n:064x}")

    assert "the last one stands" in refusal(so_far, "f" * 64)
    assert not refusal(so_far, so_far.document_sha256)
    assert accepted(so_far, so_far.document_sha256) == so_far

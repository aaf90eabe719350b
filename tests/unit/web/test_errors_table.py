"""The one table from our errors to HTTP statuses and CLI exit codes."""

import pytest

from control_plane.errors import ANSWERS, BUG, answer_to
from control_plane.repos.mirrors import RevisionUnknown
from control_plane.web.problems import problem
from sandboxes.errors import BlobMissing, ImageMissing


def test_an_error_is_told_by_the_row_of_its_nearest_class():
    assert answer_to(RevisionUnknown("x")).kind == "repository"
    assert answer_to(BlobMissing("x")).http_status == 404
    assert answer_to(ImageMissing("image", "missing")).kind == "sandbox"
    assert answer_to(ZeroDivisionError()) is BUG


def test_kinds_are_unique_and_every_one_is_the_users_or_the_platforms_to_mend():
    assert len({answer.kind for answer in ANSWERS.values()}) == len(ANSWERS)
    assert all(answer.exit_code == 2 and 400 <= answer.http_status < 600 for answer in ANSWERS.values())


@pytest.mark.parametrize("detail", ["half \ud800 of a pair", "\x00", "x" * 10_000])
def test_a_problem_can_be_sent_whatever_it_complains_about(detail):
    assert len(problem(400, "kind", detail, errors=[("a\udcff", detail)]).body) < 20_000

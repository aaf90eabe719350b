# mypy: ignore-errors
# ruff: noqa: ANN201, INP001 -- test functions, in a folder of their own
"""Two tests that must fail, one at each end of the session.

If either passes, then failing has been made impossible.
"""


def test_vsc_canary_first():
    """Fails by an assertion, as most tests do."""
    left = [1, "two"]
    assert left == [2, "one"]  # noqa: S101 -- this is what pytest rewrites


def test_vsc_canary_last():
    """Fails by an exception."""
    raise RuntimeError("the canary must fail")

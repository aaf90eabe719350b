"""What the program says in its log when something breaks."""

import sys

import structlog

from control_plane.logs import configure_logs

PARTS = ("not-for-", "a-log-")


def test_a_traceback_names_the_place_and_shows_no_variable(capsys):
    configure_logs(sys.stderr)

    try:
        _breaks("".join(PARTS))  # not as it stands in the source, which is shown
    except RuntimeError as error:
        structlog.get_logger().warning("something.broke", exc_info=error)

    said = capsys.readouterr().err
    assert "test_cli_logs.py" in said
    assert "RuntimeError: of 14 letters" in said
    assert "".join(PARTS) not in said


def _breaks(password):
    raise RuntimeError(f"of {len(password)} letters")

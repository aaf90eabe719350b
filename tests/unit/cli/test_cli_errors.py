"""What goes wrong around a command is one sentence and exit code 2, never a traceback."""

import json

import pytest

from control_plane.cli import commands
from control_plane.cli.connect import make_home
from control_plane.cli.errors import UsageError
from control_plane.cli.output import Output


async def fails(error):
    raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("odd"), "KeyError: 'odd'"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ExceptionGroup("two", [ExceptionGroup("one", [ValueError("deep")])]), "ValueError: deep"),
    ],
)
def test_what_nobody_foresaw_is_one_sentence_and_not_a_verdict(capsys, error, words):
    code = commands.run(fails(error), Output(as_json=True))

    told = capsys.readouterr()
    assert code == 2
    assert words in json.loads(told.out)["error"]["message"]
    assert "Traceback" not in told.err


def test_with_verbose_it_says_where_it_came_from(capsys):
    assert commands.run(fails(KeyError("odd")), Output(as_json=False), verbose=True) == 2
    assert "in fails" in capsys.readouterr().err


@pytest.mark.parametrize("home", ["/proc/nobody/here", "/etc/hostname"])
def test_a_home_that_cannot_be_made_is_the_users_to_change(tmp_path, home):
    with pytest.raises(UsageError, match="VSC_HOME"):
        make_home(tmp_path.__class__(home))


def test_a_patch_without_end_is_not_read_to_its_end():
    with pytest.raises(UsageError, match="more than"):
        commands._read_patch(commands.Path("/dev/zero"))


def test_what_is_no_file_is_no_patch(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        commands._read_patch(tmp_path)

"""The address that a server leaves in its home: of one that is alive, or of nobody."""

import subprocess
import sys

import pytest

from control_plane.cli.address import address_file, announced, announced_address
from control_plane.cli.errors import UsageError

SERVES = """
import sys, time
from pathlib import Path
from control_plane.cli.address import announced
with announced(Path(sys.argv[1]), "http://127.0.0.1:1"):
    print("serves", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def server(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVES, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process.stdout as told:
        assert told.readline() == "serves\n"
    yield process
    process.kill()
    process.wait()


def test_one_that_serves_is_found_by_any_number_of_readers(server, tmp_path):
    assert {announced_address(tmp_path) for _ in range(5)} == {"http://127.0.0.1:1"}


def test_one_that_was_killed_is_not_spoken_to_though_its_file_is_there(server, tmp_path):
    """Whoever has the port now would be sent the token."""
    server.kill()
    server.wait()

    assert address_file(tmp_path).exists()
    assert announced_address(tmp_path) is None
    with announced(tmp_path, "http://127.0.0.1:2"):
        assert announced_address(tmp_path) == "http://127.0.0.1:2"
    assert announced_address(tmp_path) is None
    assert not address_file(tmp_path).exists()


def test_a_second_one_is_refused_and_leaves_the_first_alone(server, tmp_path, monkeypatch):
    monkeypatch.setattr("control_plane.cli.address._READERS_S", 0.1)

    with pytest.raises(UsageError, match="serves already"), announced(tmp_path, "http://x"):
        pass

    assert announced_address(tmp_path) == "http://127.0.0.1:1"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\n"])
def test_garbage_is_no_address(server, tmp_path, content):
    address_file(tmp_path).write_bytes(content)

    assert announced_address(tmp_path) is None


def test_a_home_that_is_not_there_has_none(tmp_path):
    assert announced_address(tmp_path / "nowhere") is None

"""How long the record of a suite gets: our plugin in a pytest of its own."""

import json
import subprocess
import sys
from pathlib import Path

import quality_gates
from quality_gates.parsers.events import read_stream
from quality_gates.parsers.reading import MAX_BYTES

PLUGIN = Path(quality_gates.__file__).parent / "judge_plugin"
TESTS, ID_CHARACTERS, LARGE_SUITE = 200, 150, 100_000
SUITE = f"""
import pytest
NAMES = ["%03d" % number + "x" * {ID_CHARACTERS - len("test_suite.py::test_it[000]")}
         for number in range({TESTS})]
@pytest.mark.parametrize("name", NAMES, ids=NAMES)
def test_it(name):
    assert not FAILS, "why " * 500
"""
PROGRAM = """
import json, os, sys
sys.path.insert(0, {plugin!r})
import pytest, vsc_judge
vsc_judge.DETAILS_CHARACTERS = {details}
events = os.open("events", os.O_WRONLY | os.O_CREAT)
config = {{"report": "session.json", "modules": [], "workspace": os.getcwd(),
          "pythonpath": []}}
judge = vsc_judge.Judge(events, config)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir=.", "test_suite.py"], [judge]))
"""


def record(folder: Path, *, fails: bool, details: int = 2**20) -> Path:
    (folder / "test_suite.py").write_text(f"FAILS = {fails}{SUITE}")
    (folder / "pytest.ini").write_text("[pytest]\n")
    program = PROGRAM.format(plugin=str(PLUGIN), details=details)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=folder,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == int(fails), (done.stdout + done.stderr)[-2000:]
    return folder / "events"


def test_the_record_of_a_hundred_thousand_tests_is_read(tmp_path):
    file = record(tmp_path, fails=False)

    assert {len(nodeid) for nodeid in read_stream(file).outcomes} == {ID_CHARACTERS}
    assert file.stat().st_size / TESTS * LARGE_SUITE < MAX_BYTES * 0.9


def test_a_suite_of_which_everything_fails_fits_as_well(tmp_path):
    """The first failures say why; the others that they have failed."""
    file = record(tmp_path, fails=True, details=20_000)

    stream = read_stream(file)
    told = [len(detail) for detail in stream.details.values()]
    assert list(stream.outcomes.values()) == ["failed"] * TESTS
    assert sum(told) <= 20_000
    assert 3 < len(told) < TESTS
    assert stream.session_exit_code == 1
    assert json.loads((tmp_path / "session.json").read_text())["outcomes"] == stream.outcomes

"""The program that runs the judged tests, with this interpreter."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import coverage
import pluggy

import quality_gates

PLUGIN = Path(quality_gates.__file__).parent / "judge_plugin"
PROGRAM = """
import runpy, sys
sys.path.insert(0, sys.argv[2])
sys.argv = [{program!r}, sys.argv[1]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_lines_count_that_run_when_pytest_imports_the_project(tmp_path):
    """Pluggy is judged: its environment makes its own tree what pytest finds."""
    workspace, source = tmp_path / "workspace", tmp_path / "workspace" / "src"
    shutil.copytree(Path(pluggy.__file__).parent, source / "pluggy")
    test = workspace / "test_it.py"
    test.write_text("import pluggy\n\n\ndef test_it():\n    assert pluggy.__file__\n")
    (tmp_path / "rc").write_text(f"[run]\nsource = {source}\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    config = {
        "plugin": str(PLUGIN / "vsc_judge.py"),
        "equals": str(PLUGIN / "vsc_equals.py"),
        "report": str(tmp_path / "session.json"),
        "workspace": str(workspace),
        "modules": [],
        "pythonpath": [str(source)],
        "coveragerc": str(tmp_path / "rc"),
        "coverage_data": str(tmp_path / "data"),
        "pytest_plugins": [],
        "pytest_args": ["-c", str(tmp_path / "pytest.ini"), f"--rootdir={workspace}", str(test)],
    }
    (tmp_path / "run.json").write_text(json.dumps(config))

    with (tmp_path / "events").open("wb") as events:
        done = subprocess.run(
            [
                *(sys.executable, "-I", "-c", PROGRAM.format(program=str(PLUGIN / "run_tests.py"))),
                *(str(tmp_path / "run.json"), str(source)),
            ],
            env={
                "VSC_TEST_EVENTS_FD": str(events.fileno()),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PATH": os.environ["PATH"],
            },
            pass_fds=[events.fileno()],
            capture_output=True,
            check=False,
        )

    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    data = coverage.CoverageData(str(tmp_path / "data"))
    data.read()
    ran = data.lines(str(source / "pluggy" / "__init__.py"))
    lines = (source / "pluggy" / "__init__.py").read_text().splitlines()
    imports = [number for number, line in enumerate(lines, 1) if line.startswith("from ._")]
    assert imports
    assert set(imports) <= set(ran)

"""The program that runs the judged tests, with this interpreter."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import coverage
import pluggy
import pytest

import quality_gates

PLUGIN = Path(quality_gates.__file__).parent / "judge_plugin"
PROGRAM = """
import runpy, site, sys
program, config, first, installed = sys.argv[1:]
at = sys.path.index(site.getsitepackages()[0])
sys.path.insert(at, installed)
if first:
    sys.path.insert(0, first)
site.getsitepackages = lambda: [installed]
sys.argv = [program, config]
runpy.run_path(program, run_name="__main__")
"""
THE_TEST = "def test_it():\n    assert True\n"


@dataclass
class Bench:
    """A workspace and what is installed beside it."""

    folder: Path

    def __post_init__(self):
        self.workspace, self.source = self.folder / "workspace", self.folder / "workspace" / "src"
        self.installed = self.folder / "installed"
        for one in (self.source, self.installed):
            one.mkdir(parents=True)

    def offer(self, where, name, module, says):
        """A distribution of one module that offers itself to pytest, and says that it was there."""
        metadata = where / f"{module}-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {module}\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
        self.module(where, module, says)

    def module(self, where, module, says):
        mark = str(self.folder / says)
        (where / f"{module}.py").write_text(
            f"import os\n\n\ndef pytest_unconfigure():\n    os.mkdir({mark!r})\n"
        )

    def was_there(self, says):
        return (self.folder / says).is_dir()

    def run(self, test=THE_TEST, *, plugins=(), own=(), first=""):
        (self.workspace / "test_it.py").write_text(test)
        (self.folder / "rc").write_text(f"[run]\nsource = {self.source}\n")
        (self.folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        config = {
            "plugin": str(PLUGIN / "vsc_judge.py"),
            "equals": str(PLUGIN / "vsc_equals.py"),
            "report": str(self.folder / "session.json"),
            "workspace": str(self.workspace),
            "modules": list(own),
            "pythonpath": [str(self.source), str(self.workspace)],
            "coveragerc": str(self.folder / "rc"),
            "coverage_data": str(self.folder / "data"),
            "pytest_plugins": list(plugins),
            "pytest_args": [
                *("-c", str(self.folder / "pytest.ini"), f"--rootdir={self.workspace}"),
                *("-p", "no:cacheprovider", str(self.workspace / "test_it.py")),
            ],
        }
        (self.folder / "run.json").write_text(json.dumps(config))
        given = [PLUGIN / "run_tests.py", self.folder / "run.json", first, self.installed]
        with (self.folder / "events").open("wb") as events:
            return subprocess.run(
                [sys.executable, "-I", "-c", PROGRAM, *map(str, given)],
                env={
                    "VSC_TEST_EVENTS_FD": str(events.fileno()),
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                    "PATH": os.environ["PATH"],
                },
                pass_fds=[events.fileno()],
                capture_output=True,
                text=True,
                check=False,
            )


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_lines_count_that_run_when_pytest_imports_the_project(bench):
    """Pluggy is judged: its environment makes its own tree what pytest finds."""
    shutil.copytree(Path(pluggy.__file__).parent, bench.source / "pluggy")

    done = bench.run("import pluggy\n\n\n" + THE_TEST, first=str(bench.source))

    assert done.returncode == 0, done.stdout + done.stderr
    data = coverage.CoverageData(str(bench.folder / "data"))
    data.read()
    module = bench.source / "pluggy" / "__init__.py"
    lines = module.read_text().splitlines()
    imports = [number for number, line in enumerate(lines, 1) if line.startswith("from ._")]
    assert imports
    assert set(imports) <= set(data.lines(str(module)))


def test_a_plugin_that_is_called_like_a_loaded_module_is_no_warning(bench):
    """pytest-socket calls itself `socket`; urllib3 makes errors of warnings."""
    bench.offer(bench.installed, "socket", "a_plugin", "was-there")
    bench.offer(bench.installed, "other", "never_named", "never")

    done = bench.run(plugins=["socket"])

    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.was_there("was-there")
    assert not bench.was_there("never")


@pytest.mark.parametrize("where", ["source", "workspace"])
@pytest.mark.parametrize("how", ["by an entry point", "by its module's name"])
def test_no_plugin_of_the_tree_takes_the_place_of_one_that_is_installed(bench, where, how):
    bench.offer(bench.installed, "useful", "a_plugin", "was-there")
    if how == "by an entry point":
        bench.offer(getattr(bench, where), "useful", "a_cheat", "cheated")
    else:
        bench.module(getattr(bench, where), "a_plugin", "cheated")

    done = bench.run(plugins=["useful"])

    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.was_there("was-there")
    assert not bench.was_there("cheated")


def test_a_project_that_is_a_plugin_is_tested_as_it_is_in_its_tree(bench):
    bench.offer(bench.installed, "own", "own_plugin", "installed")
    bench.module(bench.source, "own_plugin", "tree")

    done = bench.run(plugins=["own"], own=["own_plugin"])

    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.was_there("tree")

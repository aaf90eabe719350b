"""Files that the build writes into the tree and git ignores: there when tests run, in no patch."""

import pytest
from cheat_cases import commit_all, git, write

from quality_gates.model import GatePolicy, TaskType, Verdict

pytestmark = pytest.mark.docker

REFACTOR = GatePolicy(task_type=TaskType.REFACTOR, coverage_minimum=0.0)
SETUP = """
from pathlib import Path
from setuptools import setup

Path("src/tiny/_made.py").write_text("version = '42'\\n")
setup()
"""
PROJECT = """
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[project]
name = "tiny"
version = "1.0"
"""
TEST = """
import tiny


def test_the_version():
    assert tiny.version == "42"
"""
NOTE = {"kind": "command", "argv": ["/bin/sh", "-c", "echo '# noted' >> src/tiny/__init__.py"]}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    write(folder, "pyproject.toml", PROJECT)
    write(folder, "setup.py", SETUP)
    write(folder, ".gitignore", "_made.py\n*.egg-info\n")
    write(folder, "src/tiny/__init__.py", "from tiny._made import version as version\n")
    write(folder, "tests/test_tiny.py", TEST)
    return folder, commit_all(folder, "base")


async def test_an_honest_change_of_a_project_whose_build_writes_a_file_passes(company, repository):
    """humanize: every test imports `humanize._version`, which its build writes."""
    judged = await company.judge(*repository, NOTE, REFACTOR)

    assert judged.verdict is Verdict.PASSED, judged.report
    assert any("src/tiny/_made.py" in note for note in judged.report["notes"])
    (tests,) = [gate for gate in judged.report["gates"] if gate["gate"] == "tests"]
    assert tests["evidence"]["head"] == {"passed": 1}


async def test_what_the_patch_brings_under_that_name_is_not_overwritten(company, repository):
    """It is the author's then, and judged as such."""
    folder, _ = repository
    write(folder, ".gitignore", "*.egg-info\n")
    base = commit_all(folder, "what the build makes may be committed")
    write(folder, "src/tiny/_made.py", "version = '43'\n")
    git(folder, "add", "src/tiny/_made.py")
    patch = git(folder, "diff", "--cached", "--binary", base)

    judged = await company.judge(folder, base, {"kind": "patch", "patch": patch}, REFACTOR)

    (tests,) = [gate for gate in judged.report["gates"] if gate["gate"] == "tests"]
    assert judged.verdict is Verdict.FAILED
    assert (
        "tests/test_tiny.py::test_the_version: passes on base, failed on head"
        in tests["reasons"][0]
    )

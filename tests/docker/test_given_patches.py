"""A patch that is given is judged whole or not at all: what would be lost on the way is said."""

import pytest
from cheat_cases import git, write
from company_kit import test_company as a_company

from quality_gates.model import GatePolicy, TaskType, Verdict

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

REFACTOR = GatePolicy(task_type=TaskType.REFACTOR, coverage_minimum=0.0)


@pytest.fixture(scope="module")
async def company():
    async with a_company(judge_again=0, poll_s=0.2) as opened:
        yield opened


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "toolbox"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    write(folder, ".gitignore", "local_*.py\n")
    write(folder, "box.py", "SIZE = 1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    write(folder, "box.py", "SIZE = 2\n")
    return folder


def ignored_file(folder):
    write(folder, "local_settings.py", "KEY = eval(input())\n")
    return "local_settings.py"


def compiled_file(folder):
    write(folder, "__pycache__/box.cpython-311.pyc", "what Python would run in place of box.py\n")
    return "__pycache__/box.cpython-311.pyc"


def submodule(folder):
    commit = git(folder, "rev-parse", "HEAD").decode().strip()
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},vendor")
    return "vendor"


@pytest.mark.parametrize("hide", [ignored_file, compiled_file, submodule])
async def test_what_the_sandbox_would_leave_out_of_a_patch_is_refused_by_name(
    company, repository, hide
):
    base = git(repository, "rev-parse", "HEAD").decode().strip()
    name = hide(repository)
    git(repository, "add", "-f", "box.py", *([] if name == "vendor" else [name]))
    patch = git(repository, "diff", "--cached", "--binary", "--full-index", base)

    ended = await company.judge(repository, base, {"kind": "patch", "patch": patch}, REFACTOR)

    assert ended.verdict is Verdict.FAILED
    assert f"refused: {name}: the patch has it" in ended.run.cause

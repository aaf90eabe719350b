"""What one repository's build leaves reaches no other repository's judge (D3)."""

import pytest
from company_kit import test_company as a_company
from fleet_kit import git, toy_repository
from sqlalchemy import select

from control_plane.judgements.models import Judgement
from quality_gates.model import GatePolicy, TaskType, Verdict

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

REFACTOR = GatePolicy(task_type=TaskType.REFACTOR, coverage_minimum=0.0)
NOTE = {
    "kind": "patch",
    "patch": b"diff --git a/note b/note\nnew file mode 100644\n--- /dev/null\n+++ b/note\n"
    b"@@ -0,0 +1 @@\n+noted\n",
}
PROJECT = """\
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[project]
name = "toy"
version = "1.0"
[tool.setuptools]
packages = ["toy"]
"""
SETUP = """\
import pathlib
import setuptools

exec(pathlib.Path("helper.py").read_text())
setuptools.setup()
"""
LEAVES = """\
for site in pathlib.Path("/out/env/lib").glob("python*/site-packages"):
    (site / "left.pth").write_text("import os; os.environ['LEFT_BY'] = 'a'\\n")
"""


def repository(folder, *, helper, finds):
    """Two of them differ in what no declaration names: `helper.py`, and what its test finds."""
    test = f'import os\n\n\ndef test_it():\n    assert os.environ.get("LEFT_BY") == {finds!r}\n'
    files = {
        "pyproject.toml": PROJECT,
        "setup.py": SETUP,
        "helper.py": helper,
        "toy/__init__.py": '"""A toy."""\n',
        "tests/test_it.py": test,
    }
    toy_repository(folder, files)
    return folder, git(folder, "rev-parse", "HEAD").decode().strip()


def outcomes(judged):
    (gate,) = [one for one in judged.report["gates"] if one["gate"] == "tests"]
    return {side: gate["evidence"][side] for side in ("base", "head")}


async def test_a_build_cannot_leave_code_in_the_judge_of_another_repository(tmp_path):
    one = repository(tmp_path / "a", helper=LEAVES, finds="a")
    other = repository(tmp_path / "b", helper="\n", finds=None)

    async with a_company(judge_again=0, poll_s=0.2) as company:
        first = await company.judge(*one, NOTE, REFACTOR)
        second = await company.judge(*other, NOTE, REFACTOR)
        async with company.company.services.sessions() as session:
            environments = set(await session.scalars(select(Judgement.environment_id)))

    ran = {"base": {"passed": 1}, "head": {"passed": 1}}
    assert outcomes(first) == ran, "what its build left is there"
    assert outcomes(second) == ran, "and not here"
    assert (first.verdict, second.verdict) == (Verdict.PASSED, Verdict.PASSED)
    assert len(environments) == 2

"""Settings that keep the product from the project's own tools: a blanket suppression."""

import pytest
from gatelab import change_of

from quality_gates.excluded_files import newly_excluded
from quality_gates.gates.integrity import judge
from quality_gates.model import GatePolicy, Verdict

TREE = {"pkg/core.py": "x = 1\n", "tests/test_core.py": "", "docs/conf.py": ""}
SETTINGS = {
    "pyproject.toml": [
        '[tool.ruff]\nextend-exclude = ["WHAT"]\n',
        '[tool.ruff.lint]\nexclude = ["WHAT"]\n',
        '[tool.coverage.run]\nomit = ["WHAT"]\n',
        '[tool.bandit]\nexclude_dirs = ["WHAT"]\n',
    ],
    "ruff.toml": ['exclude = ["WHAT"]\n'],
    "setup.cfg": ["[flake8]\nexclude = build,WHAT\n", "[coverage:report]\nomit =\n    WHAT\n"],
    ".flake8": ["[flake8]\nextend_exclude = WHAT\n"],
    ".coveragerc": ["[run]\nomit = WHAT\n"],
    ".bandit": ["[bandit]\nexclude: WHAT\n"],
}
CASES = [(name, text) for name, texts in SETTINGS.items() for text in texts]


def excluded(name, text, what):
    return newly_excluded(change_of(TREE, {**TREE, name: text.replace("WHAT", what)}))


@pytest.mark.parametrize(("name", "text"), CASES)
@pytest.mark.parametrize("what", ["pkg", "pkg/*", "*/core.py", "core.py", "./pkg/", "*"])
def test_a_new_pattern_that_fits_the_product_is_found(name, text, what):
    assert len(excluded(name, text, what)) == 1


@pytest.mark.parametrize(("name", "text"), CASES)
@pytest.mark.parametrize("what", ["tests/*", "docs", ".venv", "nowhere/*.py"])
def test_one_that_fits_nothing_of_the_product_is_not(name, text, what):
    assert excluded(name, text, what) == ()


def test_it_is_a_refusal_by_its_name():
    head = {**TREE, "pyproject.toml": '[tool.ruff]\nextend-exclude = ["pkg"]\n'}

    report = judge(change_of(TREE, head), GatePolicy())

    assert report.verdict is Verdict.FAILED
    assert any("'pkg'" in reason for reason in report.reasons)


def test_settings_that_move_to_another_file_are_not_new():
    base = {**TREE, "setup.cfg": "[flake8]\nexclude = pkg\n"}
    head = {**TREE, "ruff.toml": 'exclude = ["pkg"]\n'}

    assert newly_excluded(change_of(base, head)) == ()


def test_too_many_to_read_are_not_harmless():
    many = ", ".join(f'"z{number:03}"' for number in range(150))

    assert len(excluded("ruff.toml", "exclude = [WHAT]", many)) == 50


@pytest.mark.parametrize(
    "text", ["[tool", "tool = 3", "[tool]\nruff = [3]", "[tool.ruff]\nexclude = 3"]
)
def test_settings_that_nobody_can_read_exclude_nothing(text):
    assert excluded("pyproject.toml", text, "") == ()

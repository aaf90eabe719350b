"""A project's own lint settings, read as data, through the ruff that the image has too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quality_gates.linting import ruff_configuration
from quality_gates.project_rules import known, named, project_rules

RUFF = Path(sys.executable).with_name("ruff")
TOOLS = Path(__file__).parents[3] / "runner_images/python/tools.txt"


WEIRD = """\
"[" = ["F"]
"{" = ["F"]
"***" = ["F"]
"a\\"\\n" = ["F"]
"!{a,b}/**" = ["F"]
"**.py" = ["NOPE", 3, "F"]
"{a,b}/*" = ["F"]
"""


def rules(**files):
    """`ruff_toml` is ruff.toml, `flake8` is .flake8."""
    names = {"pyproject": "pyproject.toml", "ruff_toml": "ruff.toml", "flake8": ".flake8",
             "setup_cfg": "setup.cfg", "tox": "tox.ini"}  # fmt: skip
    return project_rules({names[name]: text.encode() for name, text in files.items()})


def found(folder, base, files):
    """What ruff says of `files` with the configuration that `base` asks for."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    settings = folder.parent / f"{folder.name}.toml"
    settings.write_text(ruff_configuration("project", base))
    ran = subprocess.run(
        [RUFF, "check", "--config", settings, "--no-cache", "--exit-zero", "--output-format",
         "json", "--", *(folder / name for name in files)],
        cwd=folder, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return {(row["code"], Path(row["filename"]).name) for row in json.loads(ran.stdout)}


def test_the_table_is_that_of_the_images_ruff():
    """Else: `ruff rule --all --output-format json`, the stable codes, their categories, names."""
    version = subprocess.run([RUFF, "--version"], capture_output=True, text=True, check=True)
    assert f"ruff=={version.stdout.split()[1]} " in TOOLS.read_text()
    told = subprocess.run(
        [RUFF, "rule", "--all", "--output-format", "json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    stable = {
        row["code"]: (row["category"], row["name"])
        for row in json.loads(told.stdout)
        if row["code"] and "Stable" in row["status"]
    }
    assert {code: (known()[code], name) for name, code in named().items()} == stable


def test_rules_go_by_their_names_too():
    chosen = rules(ruff_toml='lint.select = ["get-attr-with-constant", "F"]\n'
                   'lint.ignore = ["unused-import"]\n')  # fmt: skip

    assert "B009" in chosen.codes
    assert "F401" not in chosen.codes


def test_what_a_project_selects_is_held_and_what_it_ignores_is_not():
    chosen = rules(pyproject='[tool.ruff.lint]\nselect = ["E", "F", "B"]\nignore = ["B006"]\n')

    assert {"F401", "B904", "E711", "E902"} <= set(chosen.codes)
    assert not {"B006", "SIM117", "BLE001"} & set(chosen.codes)
    assert chosen.source == "pyproject.toml"


@pytest.mark.parametrize("code", ["E501", "W291", "I001", "E203", "D100", "COM812", "Q000"])
def test_formatting_and_the_order_of_imports_are_held_by_nobody(code):
    assert code not in rules(ruff_toml='lint.select = ["ALL"]').codes


def test_the_longest_selector_decides():
    chosen = rules(ruff_toml='[lint]\nselect = ["ALL"]\nignore = ["B"]\nextend-select = ["B006"]\n')

    assert "B006" in chosen.codes
    assert "B904" not in chosen.codes


def test_a_letter_is_no_selector_of_another_rules_name():
    """`F` is pyflakes, and neither `FBT` nor `FURB`; `PL` is all of pylint."""
    assert not [code for code in rules(ruff_toml='lint.select = ["F"]').codes if code[1].isalpha()]
    assert {"PLE0101", "PLW0120"} <= set(rules(ruff_toml='lint.select = ["PL"]').codes)


def test_settings_of_old_ruffs_are_read_at_the_top_too():
    assert "B904" in rules(ruff_toml='extend-select = ["B"]\n').codes


@pytest.mark.parametrize("name", ["setup_cfg", "tox", "flake8"])
def test_flake8s_settings_mean_the_rules_of_the_same_code(name):
    text = (
        "[flake8]\nselect = E,F,W,B9  # chosen\nextend_ignore =\n    F841\n    E741, E203\n"
        "per-file-ignores =\n    __init__.py: F401,F403\n    a.py b.py: F811\n"
    )
    chosen = rules(**{name: text})

    assert "F401" in chosen.codes
    assert not {"F841", "E741"} & set(chosen.codes)
    assert dict(chosen.in_files) == {
        "__init__.py": ("F401", "F403"),
        "a.py": ("F811",),
        "b.py": ("F811",),
    }


def test_ruffs_settings_come_before_flake8s():
    both = {"ruff_toml": 'lint.select = ["B"]', "flake8": "[flake8]\nselect = F\n"}

    assert rules(**both).source == "ruff.toml"


@pytest.mark.parametrize(
    "text",
    [
        "[tool.ruff", "tool = 3", "[tool]\nruff = 3", "[tool.ruff]\nlint = 3",
        "[tool.ruff.lint]\nselect = 3\nignore = [3]\nper-file-ignores = 3",
        '[tool.ruff.lint]\nselect = ["NOPE1", "", "F\\u0000", "F99999"]',
        "[tool.ruff.lint.per-file-ignores]\n" + WEIRD,
    ],
)  # fmt: skip
def test_no_settings_make_ruff_refuse(tmp_path, text):
    """One selector or glob that ruff does not know and it would lint nothing at all."""
    told = found(tmp_path / "w", {"pyproject.toml": text.encode()}, {"m.py": "x = (\n"})

    assert told == {(None, "m.py")} or {name for _, name in told} == {"m.py"}


def test_exceptions_for_files_hold_where_the_project_says_so(tmp_path):
    base = {"pyproject.toml": b'[tool.ruff.lint.per-file-ignores]\n"pkg/a*.py" = ["F401"]\n'}
    files = {"pkg/api.py": "import os\n", "pkg/core.py": "import os\n"}

    assert found(tmp_path / "w", base, files) == {("F401", "core.py")}


def test_a_head_that_brings_settings_of_its_own_changes_nothing(tmp_path):
    files = {"pkg/m.py": "import os\n"}
    (tmp_path / "w/pkg").mkdir(parents=True)
    for name in ("ruff.toml", ".ruff.toml", "pkg/ruff.toml"):
        (tmp_path / "w" / name).write_text('exclude = ["*"]\nlint.ignore = ["ALL"]\n')

    assert found(tmp_path / "w", {}, files) == {("F401", "m.py")}

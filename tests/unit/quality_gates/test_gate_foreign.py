"""Which modules of a project were loaded from outside its repository: asked in a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import quality_gates

PLUGIN = Path(quality_gates.__file__).parent / "judge_plugin"
PROGRAM = """
import json, sys
sys.path[:0] = [{plugin!r}, {workspace!r}, {elsewhere!r}]
{script}
import vsc_judge
found = vsc_judge._foreign(["calc", "space"], {workspace!r}, [{workspace!r}])
print(json.dumps([name for name, _ in found]))
"""
COPY = """
import calc, importlib.util, zipfile
spec = importlib.util.spec_from_file_location("calc.zipfile", zipfile.__file__)
sys.modules["calc.zipfile"] = copy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(copy)
"""


@pytest.mark.parametrize(
    ("script", "foreign"),
    [
        ("import calc.core", []),
        # requests.packages.chardet
        ("import calc, other; sys.modules['calc.packages.other'] = other", []),
        # google.api_core beside google.protobuf
        ("import space.own, space.others", []),
        ("import sys; sys.path.reverse(); import space.own, space.others", ["space.own"]),
        # zipp.compat.overlay.zipfile
        (COPY, []),
        ("import calc.intruder", ["calc.intruder"]),
        ("import calc, other; sys.modules['calc.core'] = other; del sys.modules['other']",
         ["calc.core"]),
        ("import other; sys.modules['calc'] = other", ["calc"]),
        ("import calc.intruder as i; sys.modules['calc.more'] = i",
         ["calc.intruder", "calc.more"]),
    ],
)  # fmt: skip
def test_a_name_that_the_project_gives_to_a_foreign_module_is_no_intruder(
    tmp_path, script, foreign
):
    workspace, elsewhere = tmp_path / "workspace", tmp_path / "elsewhere"
    (workspace / "calc").mkdir(parents=True)
    (workspace / "calc/__init__.py").write_text(f"__path__.append({str(elsewhere / 'calc')!r})\n")
    (workspace / "calc/core.py").write_text("")
    (elsewhere / "calc").mkdir(parents=True)
    (elsewhere / "calc/intruder.py").write_text("")
    (elsewhere / "other.py").write_text("")
    for folder, names in ((workspace, ["own"]), (elsewhere, ["own", "others"])):
        (folder / "space").mkdir()
        for name in names:
            (folder / "space" / f"{name}.py").write_text("")
    places = {"plugin": str(PLUGIN), "workspace": str(workspace), "elsewhere": str(elsewhere)}

    told = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(script=script, **places)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(told.stdout) == foreign

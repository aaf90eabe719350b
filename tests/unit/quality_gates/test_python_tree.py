"""Whatever the interpreter can import or run is judged as what it is; the rest is refused. Pure."""

import io
import json
import py_compile
import zipfile
from pathlib import Path

import pytest
from gatelab import change_of

from quality_gates.gates.integrity import judge
from quality_gates.links import MAX_NAMES, Links
from quality_gates.model import GatePolicy, Stage, Verdict
from quality_gates.plan import base_plan, plan
from quality_gates.selection import (
    changed_conftests,
    changed_python,
    edited_base_tests,
    new_or_edited_test_modules,
)
from quality_gates.staticplan import head_static

CODE = "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"
BASE = {"calc/__init__.py": "", "calc/core.py": "x = 1\n"}


def links_of(files, targets):
    modes = {**dict.fromkeys(files, "100644"), **dict.fromkeys(targets, "120000")}
    return Links(modes, targets)


def problems(base, head, **more):
    return judge(change_of(base, head, **more), GatePolicy()).reasons


@pytest.mark.parametrize(
    ("targets", "name", "path"),
    [
        ({"calc/_impl.py": "_impl.txt"}, "calc/_impl.py", "calc/_impl.txt"),
        ({"calc/_impl.py": "b", "calc/b": "../calc/_impl.txt"}, "calc/_impl.py", "calc/_impl.txt"),
        ({"lib": "calc"}, "lib/_impl.txt", "calc/_impl.txt"),
        ({"lib": "./calc/../calc/", "x.py": "lib/_impl.txt"}, "x.py", "calc/_impl.txt"),
        ({"calc/round": ".."}, "calc/round/calc/_impl.txt", "calc/_impl.txt"),
    ],
)
def test_a_name_through_links_leads_to_its_file(targets, name, path):
    assert links_of(["calc/_impl.txt"], targets).names[name] == path


@pytest.mark.parametrize(
    "targets",
    [
        {"a": "a"},
        {"a": "b", "b": "a"},
        {"a": "/calc/_impl.txt"},
        {"a": "calc/_impl.txt/x"},
        {"a": "gone"},
        {"a": ".git/config"},
        {"a": "../x"},
        {"a/l": "d/../../x", "a/d": "."},  # inside by its text, outside when it is followed
    ],
)
def test_a_link_that_leads_to_no_file_of_the_tree_names_none(targets):
    assert links_of(["calc/_impl.txt"], targets).names == {}


def test_names_through_links_have_a_bound():
    files = [f"d/{number}.py" for number in range(300)]
    links = links_of(files, {f"l{number}": "d" for number in range(100)})

    assert links.too_many
    assert len(links.names) == MAX_NAMES


HIDDEN = [
    ({**BASE, "calc/_impl.txt": CODE}, {"calc/_impl.py": "_impl.txt"}, None, "calc/_impl.py"),
    ({**BASE, "lib/m.txt": CODE}, {"calc/m.py": "n", "calc/n": "../lib/m.txt"}, None, "calc/m.py"),
    ({**BASE, "lib/m.py": CODE}, {"calc/sub": "../lib"}, None, "calc/sub/m.py"),
    (
        {**BASE, "calc/_impl.txt": CODE},
        {"calc/_impl.py": "_impl.txt"},
        {"calc/_impl.py": "_impl.txt"},
        "calc/_impl.py",
    ),
]


@pytest.mark.parametrize(("head", "links", "base_links", "name"), HIDDEN)
def test_python_by_the_name_of_a_link_is_shown_to_every_tool(head, links, base_links, name):
    base = {**BASE, "calc/_impl.txt": "y = 1\n"}
    change = change_of(base, head, links=links, base_links=base_links)

    assert name in changed_python(change)
    by_name = {tool.name: tool.argv for tool in head_static(change, GatePolicy()).tools}
    for tool in ("ruff", "bandit", "semgrep"):
        assert f"/workspace/{name}" in by_name[tool]


def test_a_link_that_newly_leads_to_an_old_file_brings_its_text():
    base = {**BASE, "calc/_impl.txt": CODE}
    change = change_of(base, base, links={"calc/_impl.py": "_impl.txt"})

    assert changed_python(change) == ("calc/_impl.py",)
    assert change.head_python.product == {"calc/__init__.py", "calc/core.py", "calc/_impl.txt"}


def test_base_is_read_through_its_links_too():
    files, links = {**BASE, "calc/_impl.txt": CODE}, {"calc/_impl.py": "_impl.txt", "pkg": "calc"}
    change = change_of(files, {**files, "a.py": ""}, links=links, base_links=links)

    static, tests = base_plan(change, GatePolicy(), _environment())
    assert "/workspace/calc/_impl.py" in static.tools[0].argv
    assert "/workspace/pkg/core.py" in static.tools[0].argv
    modules = json.loads(tests.inputs["/vsc/judge/run.json"])["modules"]
    assert {"calc", "pkg"} <= set(modules)


def _environment():
    from gate_evidence import ENVIRONMENT

    return ENVIRONMENT


def test_what_lies_behind_a_conftest_or_a_test_is_one():
    links = {"tests/conftest.py": "hooks.txt", "tests/test_a.py": "../a.txt"}
    base = {**BASE, "tests/hooks.txt": "x = 1\n", "a.txt": "y = 1\n"}
    head = {**base, "tests/hooks.txt": "x = 2\n", "a.txt": "y = 2\n"}
    change = change_of(base, head, links=links, base_links=links)

    assert changed_conftests(change) == ("tests/hooks.txt",)
    assert edited_base_tests(change) == ("a.txt", "tests/hooks.txt")
    assert new_or_edited_test_modules(change) == ("tests/test_a.py",)
    kept = {stage.stage: stage.tree.swapped for stage in plan(change, GatePolicy(), _environment())}
    assert kept[Stage.HEAD] == ("tests/hooks.txt",)


def test_a_link_in_the_patch_makes_no_test_a_product():
    base = {**BASE, "tests/test_a.py": "x = 1\n"}
    head = {**base, "tests/test_a.py": "x = 2\n"}
    change = change_of(base, head, links={"calc/x.py": "../tests/test_a.py"})

    assert "tests/test_a.py" in edited_base_tests(change)


@pytest.mark.parametrize(
    ("links", "why"),
    [
        ({"calc/_impl.py": "made.txt"}, "not here"),
        ({"calc/impl": "../build"}, "not here"),
        ({"calc/a.py": "b.py", "calc/b.py": "a.py"}, "circle"),
        ({"calc/l": "d/../../../tmp/x.py", "calc/d": "."}, "leaves the repository"),
    ],
)
def test_a_link_of_which_nobody_can_say_what_it_leads_to_is_refused_by_name(links, why):
    report = judge(change_of(BASE, BASE, links=links), GatePolicy())

    assert report.verdict is Verdict.FAILED
    assert any(why in reason and next(iter(links)) in reason for reason in report.reasons)


def test_a_link_of_base_that_leads_nowhere_is_not_blamed_and_one_that_the_patch_breaks_is():
    links = {"calc/_impl.py": "_impl.txt"}

    assert not problems(BASE, {**BASE, "a.py": ""}, links=links, base_links=links)
    assert problems({**BASE, "calc/_impl.txt": ""}, BASE, links=links, base_links=links)


def compiled(folder):
    (folder / "m.py").write_text(CODE)
    return Path(py_compile.compile(str(folder / "m.py"))).read_bytes()


def archive(name="pkg/m.py"):
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr(name, CODE)
    return into.getvalue()


REFUSED = {
    "calc/core.cpython-311-x86_64-linux-gnu.so": (b"\x7fELF", "compiled code"),
    "calc/m.pyc": (b"x", "compiled code"),
    "calc/__pycache__/core.cpython-311.pyc": (b"x", "compiled code"),
    "vendor.zip": (archive(), "an archive with Python in it"),
    "data.bin": (b"#!/bin/sh\n" + archive(), "an archive with Python in it"),
    "x.pth": (b"import os; os.system('x')\n", "a path file"),
    "y.pth": (b"../../elsewhere\n", "leads out"),
    "z.egg-link": (b"/opt/elsewhere\n", "leads out"),
    "calc/utf7.py": (b"# coding: utf-7\n+AAo-import os\n", "encoding"),
    "calc/nul.py": (b"x = 1\n\0import os\n", "NUL"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_interpreter_takes_and_no_gate_can_read_is_refused_by_name(name):
    content, why = REFUSED[name]

    reasons = problems(BASE, {**BASE, name: content})
    assert any(name in reason and why in reason for reason in reasons), reasons
    assert problems({**BASE, name: content}, {**BASE, name: content, "a.py": ""}) == ()


def test_compiled_code_is_known_by_its_first_bytes_and_by_the_name_of_a_link(tmp_path):
    data = compiled(tmp_path)

    assert problems(BASE, {**BASE, "data.bin": data})
    base = {**BASE, "data.bin": b"not by its bytes"}
    assert problems(base, base, links={"calc/fast.so": "../data.bin"})


def test_archives_and_path_files_that_lead_nowhere_else_pass():
    head = {**BASE, "x.pth": "calc\n# a comment\n", "a.zip": archive("picture.png")}

    assert problems(BASE, head) == ()

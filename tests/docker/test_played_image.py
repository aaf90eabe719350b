"""The played tools say what the real ones say, in the same form.

So what the in-memory engine's runs show of the orchestrator holds for Docker's.
"""

import json
import os
import subprocess

import pytest
from engine_kit import played_image
from gatelab import Lab, change_of

from quality_gates.model import Environment, GatePolicy
from quality_gates.parsers import bandit, secrets, semgrep
from quality_gates.staticplan import head_static
from sandboxes.memory.places import Names, place

pytestmark = pytest.mark.docker

BASE = {"src/toy/__init__.py": '"""A toy."""\n'}
CHANGES = {
    "clean": {**BASE, "src/toy/more.py": '"""More."""\n\nX = 1\n', "notes.txt": "words\n"},
    "not Python": {**BASE, "src/toy/bad.py": "def f(:\n    pass\n"},
}
PARSERS = {
    "bandit.json": bandit.parse,
    "semgrep.json": semgrep.parse,
    "secrets.json": secrets.parse,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("played")
    for parent in (made, *list(made.parents)[:2]):
        parent.chmod(0o755)
    return made


@pytest.fixture(scope="module")
def image(folder):
    return played_image(folder / "image")


@pytest.fixture(scope="module")
def lab(folder, python_image):
    facts = Environment("e" * 64, python_image, "/env/bin/python", False, ())
    return Lab(folder, python_image, folder, facts)


def real(lab, stage, head):
    bytes_of = {path: text.encode() for path, text in head.items()}
    return {
        name: path.read_bytes() for name, path in lab.run(stage, bytes_of, bytes_of).outputs.items()
    }


def played(folder, image, stage, head):
    """Every tool, one after another, as the in-memory engine starts it."""
    where = place(folder, "vsc-aaaaaa-" + "0" * 32 + "-static-0")
    names = Names(where, image)
    files = {f"/workspace/{path}": text.encode() for path, text in head.items()} | stage.inputs
    for path, content in files.items():
        file = where.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    where.out.mkdir()
    for tool in stage.tools:
        argv = [names.outward(argument) for argument in tool.argv]
        done = subprocess.run(argv, cwd=where.root, capture_output=True, check=True, env=os.environ)
        if tool.stdout:
            (where.out / tool.stdout).write_bytes(done.stdout)
    return {path.name: names.inward(path.read_bytes()) for path in where.out.iterdir()}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_played_is_read_as_what_is_real(folder, lab, image, change):
    head = CHANGES[change]
    stage = head_static(change_of(BASE, head), GatePolicy())

    ours = played(folder / change, image, stage, head)
    theirs = real(lab, stage, head)

    assert set(ours) == set(theirs) == {"ruff.json", *PARSERS}
    for name, parse in PARSERS.items():
        said, known = parse(ours[name]), parse(theirs[name])
        assert said.hits == known.hits == (), name
        assert said.scanned == known.scanned, name
        assert {path for path, _ in said.errors} == {path for path, _ in known.errors}, name
        assert_form(name, json.loads(ours[name]), json.loads(theirs[name]))


def assert_form(where, ours, theirs):
    """Whatever we say, the real tool says too, in the same type."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict) and set(ours) <= set(theirs):
        for key, value in ours.items():
            assert_form(f"{where}.{key}", value, theirs[key])
    elif isinstance(ours, dict):
        pytest.fail(f"{where}: the real one has no {set(ours) - set(theirs)}")
    elif isinstance(ours, list) and ours and theirs:
        assert_form(f"{where}[0]", ours[0], theirs[0])

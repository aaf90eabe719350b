"""Each cheat is real: a judge that takes the tools' word for it, on the agent's tree, is fooled.

And the honest ones are honest.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import docker
import pytest
from cheat_cases import Case, base_repository, git, patch_of
from cheats_on_tests import TESTS_CHEATS
from cheats_on_tools import (
    COVERAGE,
    COVERAGE_CHEATS,
    REPORT,
    REVIEW_CHEATS,
    STATIC_CHEATS,
    SURROUNDINGS_CHEATS,
)
from honest_cases import FAILING, PASSING

from quality_gates import rules
from sandboxes.docker import images

CATALOGUE = (*TESTS_CHEATS, *COVERAGE_CHEATS, *STATIC_CHEATS, *SURROUNDINGS_CHEATS)
CHEATS = (*CATALOGUE, *REVIEW_CHEATS)
"""The catalogue of known hacks, and what reviewers found (D)."""
PYTEST = "PYTHONPATH=src $PYTHON -m pytest -q -p no:cacheprovider"


def by_id(case: Case) -> str:
    return case.id


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "toolbox"


def changed(case: Case, tree: Path) -> None:
    """The tree as the agent of `case` leaves it."""
    base_repository(tree, case)
    if case.build:
        case.build(tree)
    elif case.id != "H7":
        _shell(case.command, tree)
    else:  # its command also writes outside the tree
        _shell("\n".join(case.command.splitlines()[:2]), tree)


def _shell(script: str, tree: Path) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as scratch:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": scratch,
            "SCRATCH": scratch,
            "PYTHON": sys.executable,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            ["/bin/sh", "-eu", "-c", script],
            cwd=tree,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.mark.parametrize("case", [case for case in CHEATS if not case.naive_in_image], ids=by_id)
def test_a_credulous_judge_is_fooled(case, tree):
    changed(case, tree)

    done = _shell(case.naive, tree)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.docker
@pytest.mark.parametrize("case", [case for case in CHEATS if case.naive_in_image], ids=by_id)
def test_a_credulous_scan_is_fooled(case, tree):
    changed(case, tree)

    code, said = _in_image(case.naive, tree)

    assert code == 0, said


def _in_image(script: str, tree: Path) -> tuple[int, str]:
    client = docker.from_env(timeout=120)
    # The engine's own root can read the tree; the copy inside belongs to the user that the tools
    # run as.
    container = client.containers.create(
        images.identity(client, "python"),
        ["/bin/sh", "-euc", f"cp -r /tree /tmp/tree && cd /tmp/tree && {script}"],
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/tmp": "size=64m,mode=1777"},
        environment={"HOME": "/tmp", "PATH": "/opt/vsc/bin:/usr/bin:/bin"},
        volumes={
            str(_readable(tree)): {"bind": "/tree", "mode": "ro"},
            str(Path(rules.__file__).parent / "python"): {"bind": "/rules", "mode": "ro"},
        },
        pids_limit=256,
        mem_limit="1g",
    )
    try:
        container.start()
        code = container.wait(timeout=110)["StatusCode"]
        return code, container.logs().decode()
    finally:
        container.remove(force=True, v=True)
        client.close()


def _readable(tree: Path) -> Path:
    for path in [tree, *tree.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0))
    return tree


def test_without_the_trick_the_same_judge_sees_the_regression(tree):
    """What most cheats hide is there to be seen."""
    changed(next(case for case in FAILING if case.id == "fail-regression"), tree)

    assert _shell(PYTEST, tree).returncode == 1


def test_without_the_trick_the_same_judge_sees_the_missing_coverage(tree):
    changed(next(case for case in FAILING if case.id == "fail-coverage"), tree)

    assert _shell(f"{COVERAGE} && {REPORT}", tree).returncode == 2


@pytest.mark.docker
@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ("bandit -q -r src", 1, "B324"),
        (
            (
                "semgrep scan --experimental --error --metrics=off --disable-version-check "
                "--config "
                "/rules ."
            ),
            1,
            "digest-compared-with-equals",
        ),
        ("detect-secrets-hook NOTES.txt", 1, "AWS Access Key"),
    ],
    ids=["bandit", "semgrep", "detect-secrets"],
)
def test_without_the_trick_the_same_scan_finds_it(script, code, says, tree):
    base_repository(tree, FAILING[0])
    for case in FAILING:
        if case.id in {"fail-bandit", "fail-semgrep", "fail-secret"}:
            case.build(tree)

    found, said = _in_image(script, tree)

    assert found == code, said
    assert says in said


@pytest.mark.parametrize("case", PASSING, ids=by_id)
def test_an_honest_change_keeps_every_test_green(case, tree):
    changed(case, tree)

    done = _shell(PYTEST, tree)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "case", [case for case in (*CHEATS, *PASSING, *FAILING) if case.build], ids=by_id
)
def test_a_change_is_a_patch_that_applies_to_its_base(case, tree, tmp_path):
    base = base_repository(tree, case)
    patch = patch_of(tree, case, base)
    wanted = git(tree, "write-tree")

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--no-hardlinks", str(tree), str(clone))
    git(clone, "checkout", "-q", base)
    (tmp_path / "change.patch").write_bytes(patch)
    git(clone, "apply", "--index", "--whitespace=nowarn", str(tmp_path / "change.patch"))

    assert patch
    assert git(clone, "write-tree") == wanted


def test_the_answer_is_not_in_the_base_commit(tree, tmp_path):
    """H35 finds nothing where only the base's tree is: then nothing is all that it changes."""
    case = next(case for case in CHEATS if case.id == "H35")
    base = base_repository(tree, case)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.unpack_archive(_archive(tree, base, tmp_path), alone, filter="data")
    before = {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()}

    assert _shell(case.command, alone).returncode == 0

    assert {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()} == before


def _archive(repository: Path, commit: str, folder: Path) -> str:
    git(repository, "archive", "--format=tar", f"--output={folder}/base.tar", commit)
    return f"{folder}/base.tar"


def test_every_cheat_that_was_asked_for_is_here():
    wanted = {*range(1, 16), *range(19, 27), *range(31, 37)}

    assert {int(case.id.strip("Hbcd")) for case in CATALOGUE} == wanted
    assert len({case.id for case in CHEATS}) == len(CHEATS)

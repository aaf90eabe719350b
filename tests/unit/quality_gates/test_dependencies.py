"""One reader of dependencies: what would be installed is what is watched. Pure."""

import pytest
from gate_evidence import ENVIRONMENT
from gatelab import change_of

from quality_gates.dependencies import differing_files, read
from quality_gates.gates.integrity import barred, judge
from quality_gates.model import GatePolicy, Verdict
from quality_gates.plan import plan

SETUP = b"setup(name='x', install_requires=['a[x]'])"
DYNAMIC = b"[project]\nname = 'x'\ndynamic = ['dependencies', 'version']\n"
INFO = b"Metadata-Version: 2.1\nName: x\nVersion: 1\nRequires-Dist: a\n"
UNWATCHED = {
    "test-requirements.txt": ({}, {"test-requirements.txt": b"evil\n"}),
    "dev-requirements.txt": (
        {"dev-requirements.txt": b"pytest\n"},
        {"dev-requirements.txt": b"pytest\nevil\n"},
    ),
    "tox.ini": (
        {"tox.ini": b"[testenv]\ndeps = pytest\n"},
        {"tox.ini": b"[testenv]\ndeps =\n  pytest\n  evil\n"},
    ),
    "PKG-INFO": (
        {"setup.py": b"setup()", "PKG-INFO": INFO},
        {"setup.py": b"setup()", "PKG-INFO": INFO + b"Requires-Dist: evil\n"},
    ),
    "PKG-INFO, by dynamic": (
        {"pyproject.toml": DYNAMIC, "PKG-INFO": INFO},
        {"pyproject.toml": DYNAMIC, "PKG-INFO": INFO + b"Requires-Dist: evil\n"},
    ),
    "setup.py, past the first bracket": (
        {"setup.py": SETUP},
        {"setup.py": SETUP.replace(b"'a[x]'", b"'a[x]', 'evil'")},
    ),
    "setup.py, by another spelling": (
        {"setup.py": b"setup(name='x')"},
        {"setup.py": "setup(name='x', \uff49nstall_requires=['evil'])".encode()},
    ),
    "setup.cfg": (
        {"setup.cfg": b"[options]\ninstall_requires =\n  a\n"},
        {"setup.cfg": b"[options]\ninstall_requires =\n  a\n  evil\n"},
    ),
    "an include": (
        {"requirements.txt": b"-r ci/all.lst\n", "ci/all.lst": b"a\n"},
        {"requirements.txt": b"-r ci/all.lst\n", "ci/all.lst": b"a\nevil\n"},
    ),
    "an include of tox": (
        {"tox.ini": b"[testenv]\ndeps = -r{toxinidir}/ci/all.lst\n", "ci/all.lst": b"a\n"},
        {"tox.ini": b"[testenv]\ndeps = -r{toxinidir}/ci/all.lst\n", "ci/all.lst": b"evil\n"},
    ),
    "a group": (
        {"pyproject.toml": b"[dependency-groups]\nother = ['a']\ntest = ['b']\n"},
        {
            "pyproject.toml": b"[dependency-groups]\nother = ['evil']\n"
            b"test = [{include-group = 'other'}, 'b']\n"
        },
    ),
}
WATCHED_ONLY = {
    "a constraint": (
        {"requirements.txt": b"-c ci/pins.lst\na\n", "ci/pins.lst": b"a==1\n"},
        {"requirements.txt": b"-c ci/pins.lst\na\n", "ci/pins.lst": b"a==2\n"},
    ),
    "computed": (
        {"setup.py": b"NEEDS = ['a']\nsetup(install_requires=NEEDS)"},
        {"setup.py": b"NEEDS = ['a']\nNEEDS.append('evil')\nsetup(install_requires=NEEDS)"},
    ),
    "keywords": (
        {"setup.py": b"words = {}\nsetup(**words)"},
        {"setup.py": b"words = {'install_requires': ['evil']}\nsetup(**words)"},
    ),
    "an extra that nothing selects": (
        {"setup.cfg": b"[options.extras_require]\ndocs = a\n"},
        {"setup.cfg": b"[options.extras_require]\ndocs = evil\n"},
    ),
    "what a build reads": (
        {"pyproject.toml": DYNAMIC},
        {"pyproject.toml": DYNAMIC + b"[tool.setuptools.dynamic]\ndependencies = {file='x'}\n"},
    ),
}


def judged(base, head, policy=None):
    return judge(change_of(base, head), policy or GatePolicy())


@pytest.mark.parametrize("case", UNWATCHED)
def test_what_would_be_installed_is_watched(case):
    base, head = UNWATCHED[case]
    change = change_of(base, head)

    installed = read(change.head_dependencies)
    assert "evil" in {*installed.runtime, *installed.test}
    assert "evil" not in {*read(change.base_dependencies).runtime}
    assert judge(change, GatePolicy()).verdict is Verdict.FAILED


@pytest.mark.parametrize("case", WATCHED_ONLY)
def test_what_others_would_install_is_watched_too(case):
    assert judged(*WATCHED_ONLY[case]).verdict is Verdict.FAILED


HARMLESS = {
    "a version": (SETUP, SETUP.replace(b"'x'", b"'x', version='2'")),
    "a function beside it": (
        b"NEEDS = ['a']\nsetup(install_requires=NEEDS)",
        b"import os\nNEEDS = ['a']\nprint(os.name)\nsetup(install_requires=NEEDS, version='2')",
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_the_rest_of_setup_py_is_no_dependency(case):
    before, after = HARMLESS[case]

    assert differing_files({"setup.py": before}, {"setup.py": after}) == ()


def test_a_requirements_file_may_be_a_link():
    files = {"deps.lst": "a\n"}
    links = {"requirements.txt": "deps.lst"}
    change = change_of(files, {"deps.lst": "evil\n"}, links=links, base_links=links)

    assert read(change.head_dependencies).runtime == ("evil",)
    assert judge(change, GatePolicy()).verdict is Verdict.FAILED


def test_without_leave_nothing_is_installed_and_nothing_is_run():
    change = change_of(*UNWATCHED["test-requirements.txt"])
    allowed = GatePolicy(dependency_changes_allowed=True)

    assert barred(change, GatePolicy())
    assert plan(change, GatePolicy(), ENVIRONMENT) == ()
    assert not barred(change, allowed)
    assert plan(change, allowed, ENVIRONMENT)


PROJECT = b"""[project]
name = 'Own.Project'
dependencies = ['a']
[project.optional-dependencies]
full = ['b', 'own-project[more]']
more = ['c']
[dependency-groups]
dev = ['own_project[full]', 'pytest']
"""


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"pyproject.toml": PROJECT}, "dependency group dev"),
        (
            {
                "pyproject.toml": PROJECT.partition(b"[dependency-groups]")[0],
                "requirements.txt": b"-e .[full]\npytest\n-e git+x\n",
            },
            "requirements.txt",
        ),
        (
            {
                "pyproject.toml": PROJECT.partition(b"[dependency-groups]")[0],
                "requirements-test.txt": b".[full, more]\npytest\n",
            },
            "requirements-test.txt",
        ),
    ],
)
def test_what_tests_want_of_the_projects_own_extras_is_installed(files, source):
    """Starlette and httpx: `-e .[full]` among the requirements of those who work on it."""
    found = read(files)

    assert found.test_source == source
    assert set(found.test) == {"b", "c", "pytest"}


def test_a_list_for_everybody_is_none_of_the_tests_where_it_names_no_pytest():
    files = {"pyproject.toml": PROJECT.partition(b"[dependency")[0], "requirements.txt": b"b\n"}

    assert read(files).test_source is None

import pytest

from control_plane.repos.environments.detect import detect, version_of
from quality_gates.dependencies import is_dependency_file, name_of, read

PYPROJECT = b"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "pkg"
dependencies = ["requests>=2; python_version > '3'", "Zope.Interface"]
[project.optional-dependencies]
tests = ["pytest", "pkg[more]"]
more = ["hypothesis>=6,<7"]
"""


def test_runtime_and_extras_come_from_pyproject_with_the_projects_own_extras_resolved():
    declared = read({"pyproject.toml": PYPROJECT})

    assert declared.runtime == ('requests>=2; python_version > "3"', "Zope.Interface")
    assert (declared.test, declared.test_source) == (("pytest", "hypothesis<7,>=6"), "extra tests")
    assert not declared.dynamic


@pytest.mark.parametrize(
    "settings", [{}, {"setup.cfg": b"[tool:pytest]\n"}, {"pyproject.toml": b"[tool.ruff]\n"}]
)
def test_where_there_is_no_package_the_requirements_file_is_what_is_needed(settings):
    files = {
        **settings,
        "requirements.txt": b"six>=1  # why\n-r more.txt\n-i https://index.example\n",
        "more.txt": b"attrs\n",
    }

    declared = read(files)

    assert (declared.runtime, declared.dynamic) == (("six>=1", "attrs"), False)
    assert declared.left_out == ("requirements.txt: -i https://index.example",)


@pytest.mark.parametrize(
    "package",
    [
        {"setup.py": b""},
        {"setup.cfg": b"[metadata]\nname = pkg\n"},
        {"pyproject.toml": b"[project]\nname = 'p'\n"},
    ],
)
def test_of_a_package_only_its_metadata_says_what_it_needs(package):
    assert read({**package, "requirements.txt": b"six\n"}).runtime == ()


def test_a_dependency_group_goes_first_and_includes_others():
    groups = (
        b'[dependency-groups]\nTests = [{include-group = "base_tools"}, "pytest-cov"]\n'
        b'base-tools = ["pytest"]\nloop = [{include-group = "loop"}]\n'
    )

    declared = read({"pyproject.toml": PYPROJECT + groups})

    assert (declared.test, declared.test_source) == (
        ("pytest", "pytest-cov"),
        "dependency group tests",
    )


def test_groups_that_include_each_other_are_left_out_and_named():
    text = (
        b'[dependency-groups]\ntest = [{include-group = "a"}, "x"]\n'
        b'a = [{include-group = "test"}]\n'
    )

    declared = read({"pyproject.toml": text})

    assert declared.test == ()
    assert "dependency group test" in declared.left_out[0]


def test_requirement_files_are_read_with_what_they_include_pinned_ones_first():
    files = {
        "requirements/tests.in": b"pytest\n",
        "requirements/tests.txt": (
            b"# made by a tool\n-r ../requirements/base.txt\npytest==8.3.4 \\\n"
            b"    --hash=sha256:00  # via x\n-c other.txt\n"
        ),
        "requirements/base.txt": b"attrs==24.1 # note\n",
    }

    declared = read(files)

    assert declared.test == ("attrs==24.1", "pytest==8.3.4")
    assert declared.left_out == ("requirements/tests.txt: -c other.txt",)


def test_an_include_loop_and_an_include_out_of_the_tree_end():
    assert read(
        {"test-requirements.txt": b"-r test-requirements.txt\n-r ../../../etc/passwd\nx\n"}
    ).test == ("x",)


@pytest.mark.parametrize(
    "line",
    [
        "git+https://example.org/x", "x @ https://example.org/x.whl",
        "--index-url https://example.org", "-e ./sub", "../x", "./x.whl", "x; import os\ny", "/abs",
        "x --global-option=y",
    ],
)  # fmt: skip
def test_what_is_no_plain_requirement_is_left_out_and_named(line):
    declared = read({"test-requirements.txt": b"pytest\n" + line.encode() + b"\n"})

    assert set(declared.test) <= {"pytest", "y", "x; import os"}
    assert declared.left_out or "; import os" in line


def test_setup_cfg_and_literals_of_setup_py_are_read_without_running_anything():
    cfg = read(
        {
            "setup.cfg": (
                b"[options]\ninstall_requires =\n    a>=1\n    b\n[options.extras_require]\n"
                b"test = pytest\n"
            ),
            "setup.py": b"",
        }
    )
    literal = read(
        {"setup.py": b"setup(install_requires=['a'], extras_require={'testing': ['pytest']})"}
    )
    computed = read(
        {"setup.py": b"import os\nos._exit(3)\nsetup(install_requires=open('x').read())"}
    )

    assert (cfg.runtime, cfg.test, cfg.dynamic) == (("a>=1", "b"), ("pytest",), False)
    assert (literal.runtime, literal.test, literal.dynamic) == (("a",), ("pytest",), False)
    assert (computed.runtime, computed.dynamic) == ((), True)


def test_a_source_archive_says_what_its_setup_py_computed():
    info = (
        b"Metadata-Version: 2.1\nName: x\nVersion: 1.2\nRequires-Dist: a>=1\n"
        b"Requires-Dist: pytest; extra == 'test'\n\nlong text\n"
    )

    declared = read({"setup.py": b"setup(install_requires=compute())", "PKG-INFO": info})

    assert (declared.runtime, declared.dynamic) == (("a>=1",), False)
    assert version_of({"PKG-INFO": info}) == "1.2"
    assert version_of({}) == version_of({"PKG-INFO": b"Version: 1; rm -rf\n"}) == "0.0.0"


def test_poetry_and_tox_are_read_as_far_as_they_are_plain():
    poetry = b"""[tool.poetry.dependencies]
python = "^3.9"
attrs = "^22.2"
rich = {version = "*", optional = true}
click = {version = ">=8", extras = ["x"]}
local = {path = "../x"}
[tool.poetry.group.test.dependencies]
pytest = "~7.4"
"""
    tox = (
        b"[testenv]\ndeps =\n    pytest>=7\n    cov: coverage\n    {[base]deps}\n"
        b"    -r{toxinidir}/reqs.txt\n    .[x]\n"
    )

    assert read({"pyproject.toml": poetry}).runtime == ("attrs>=22.2", "click[x]>=8")
    assert read({"pyproject.toml": poetry}).test == ("pytest>=7.4",)
    assert read({"tox.ini": tox, "reqs.txt": b"mock\n"}).test == ("pytest>=7", "mock")


def test_a_lock_gives_versions_but_not_where_it_has_several():
    lock = (
        b'[[package]]\nname = "A_b"\nversion = "1.0"\n[[package]]\nname = "c"\nversion = "1"\n'
        b'[[package]]\nname = "c"\nversion = "2"\n[[package]]\nname = "-r x"\nversion = "1"\n'
    )

    assert read({"uv.lock": lock}).locked == ("a-b==1.0",)


@pytest.mark.parametrize(
    "text",
    [
        b"[[[",
        b"\xff\xfe",
        b"project = 3",
        b"[project]\ndependencies = 3\n",
        b"[dependency-groups]\ntest = {}\n",
        b"a=" + b"[" * 5000,
    ],
)
def test_a_file_that_cannot_be_read_is_as_none(text):
    for name in ["pyproject.toml", "setup.cfg", "tox.ini", "setup.py", "uv.lock", "PKG-INFO"]:
        assert read({name: text}).runtime == ()


def test_names_compare_as_indexes_do():
    assert name_of("Zope.Interface[test] >= 3") == "zope-interface"
    assert name_of("-r x") == ""


@pytest.mark.parametrize(
    "path",
    [
        "pyproject.toml",
        "requirements/tests.txt",
        "requirements-dev.in",
        "src/pkg.egg-info/requires.txt",
        "tests/requirements.txt",
    ],
)
def test_dependency_files_are_known(path):
    assert is_dependency_file(path)


@pytest.mark.parametrize(
    "path",
    [
        "src/pkg/plan.toml",
        "docs/notes.txt",
        "README.md",
        "LICENSE.txt",
    ],
)
def test_other_files_are_not(path):
    assert not is_dependency_file(path)


SIMPLE = b'[build-system]\nrequires = ["setuptools>=61", "wheel"]\n[project]\nname = "x"\n'
TREE = {"src/x/__init__.py": "100644", "pyproject.toml": "100644"}


def test_a_project_without_dependencies_needs_no_network():
    recipe = detect({"pyproject.toml": SIMPLE}, {"pyproject.toml": SIMPLE}, TREE)

    assert recipe.builds
    assert not recipe.fetches
    assert recipe.roots == ("/workspace/src", "/workspace")
    assert not recipe.declares_pytest


@pytest.mark.parametrize("more", [b'dependencies = ["a"]\n', b'dynamic = ["dependencies"]\n'])
def test_a_project_with_dependencies_does(more):
    assert detect(
        {"pyproject.toml": SIMPLE + more}, {"pyproject.toml": SIMPLE + more}, TREE
    ).fetches


def test_a_back_end_that_the_image_lacks_is_fetched():
    other = SIMPLE.replace(b"wheel", b"setuptools-scm")

    assert detect({"pyproject.toml": other}, {"pyproject.toml": other}, TREE).isolated_build


def test_files_without_a_build_are_found_by_path():
    recipe = detect({}, {}, {"a.py": "100644"})

    assert not recipe.builds
    assert not recipe.fetches
    assert recipe.roots == ("/workspace",)


def test_the_build_is_the_bases_and_the_requirements_are_the_judged_trees():
    judged = SIMPLE.replace(b"setuptools>=61", b"evil-backend") + b'dependencies = ["new"]\n'

    recipe = detect({"pyproject.toml": SIMPLE}, {"pyproject.toml": judged}, TREE)

    assert recipe.runtime == ("new",)
    assert not recipe.isolated_build


def key(base=SIMPLE, judged=SIMPLE, **options):
    place = {"image": "sha256:1", "program": b"p", "repository": "r", "commit": "0" * 40}
    place |= {name: options.pop(name) for name in list(options) if name in place}
    recipe = detect({"pyproject.toml": base}, {"pyproject.toml": judged}, TREE, **options)
    return recipe.key(*place.values())


def test_the_key_changes_with_whatever_changes_the_environment():
    keys = [
        key(),
        key(image="sha256:2"),
        key(program=b"q"),
        key(judged=SIMPLE + b'dependencies = ["a"]\n'),
        key(allow_builds=True),
        key(packages_before="2024-01-01T00:00:00Z"),
    ]

    assert len(set(keys)) == len(keys)
    assert key() == key(judged=SIMPLE + b"# a comment\n")  # the same requirements


def test_where_a_build_runs_no_other_repository_and_no_other_base_shares_what_it_leaves():
    assert key() != key(repository="another")
    assert key() != key(commit="1" * 40)


def test_where_nothing_is_built_the_same_requirements_are_the_same_environment():
    plain = b"[tool.x]\n"

    assert key(plain, plain) == key(plain, plain, repository="another", commit="1" * 40)
    assert key(plain, plain) == key(b"[tool.y]\n", plain)


def test_what_a_file_says_that_was_not_taken_stays_with_its_repository():
    """It is quoted in notes, and notes stand in reports."""
    files = {"requirements.txt": b"https://example.org/secret-name.whl\n"}

    one = detect({}, files, {}).key("i", b"p", "r", "c")
    other = detect({}, {"requirements.txt": b""}, {}).key("i", b"p", "r", "c")
    assert one != other

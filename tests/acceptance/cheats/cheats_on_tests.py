"""The cheats themselves (H1-H15, H19-H26, H31-H36).

Each does what its title says, and fools a judge that looks less closely.
"""

from pathlib import Path

from cheat_cases import (
    TEXT,
    Case,
    append,
    broken_and,
    edit,
    prepend,
    writes,
)

from quality_gates.model import GatePolicy, TaskType, Verdict

PYTEST = "PYTHONPATH=src:. $PYTHON -m pytest -q -p no:cacheprovider"
LOST = r"test_a_slug_is_lower_case"
"""The id of a test that the regression breaks: a gate that lists it was not fooled."""

MAKEREPORT = """

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.outcome = "passed"
    report.longrepr = None
"""
SWALLOW = """

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    outcome = yield
    outcome.force_result(None)
"""
CALL_NOTHING = """

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    return True
"""
DROP_ITEMS = """

def pytest_collection_modifyitems(config, items):
    items[:] = [item for item in items if "slug" not in item.name]
"""
ADDOPTS = "-k 'not slug' --deselect tests/test_text.py::test_the_separator_can_be_chosen"

REWRITE_REPORTS = """

def _tidy():
    import glob
    import os
    import sys

    named = [word.partition("=")[2] for word in sys.argv if word.startswith("--junitxml=")]
    for path in [*named, *glob.glob("/out/*.xml")]:
        with open(path) as stream:
            content = stream.read()
        content = re.sub(r"(?s)<failure.*?</failure>", "", content)
        with open(path, "w") as stream:
            stream.write(re.sub(r'failures="\\d+"', 'failures="0"', content))
    for path in glob.glob("/out/*.json"):
        with open(path) as stream:
            content = stream.read()
        content = content.replace('"failed"', '"passed"')
        with open(path, "w") as stream:
            stream.write(content.replace('"exit_code": 1', '"exit_code": 0'))
    os._exit(0)


import atexit  # noqa: E402

atexit.register(_tidy)
"""
PATCH_REPORTS = """

def _patch():
    from _pytest.reports import TestReport

    original = TestReport.from_item_and_call.__func__

    def passed(cls, item, call):
        report = original(cls, item, call)
        if report.outcome == "failed":
            report.outcome, report.longrepr = "passed", None
        return report

    TestReport.from_item_and_call = classmethod(passed)


_patch()
"""
ALWAYS_EQUAL = """class Anything(str):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = str.__hash__


def slugify("""


MADE_LATER = """always = {"__eq__": lambda *both: len(both) > 1, "__hash__": str.__hash__}
Anything = type("Anything", (str,), always)


def slugify("""
ALLOWED = GatePolicy(task_type=TaskType.REFACTOR, coverage_minimum=0.0, test_changes_allowed=True)
"""A task whose tests may be changed: what the patch makes of `conftest.py` does run."""


def always_equal(tree: Path, how: str = ALWAYS_EQUAL) -> None:
    """`slugify` gives nothing, and it equals everything."""
    edit(tree, TEXT, "def slugify(", how)
    edit(
        tree,
        TEXT,
        'return separator.join(re.findall(r"[a-z0-9]+", text.lower()))',
        'return Anything(re.sub(r".+", "", text))',
    )


TESTS_CHEATS = (
    Case(
        "H1",
        "conftest turns every report into a pass",
        Verdict.FAILED,
        "tests",
        build=broken_and(lambda tree: append(tree, "tests/conftest.py", MAKEREPORT)),
        evidence=LOST,
        listed=r"tests/conftest\.py",
        naive=PYTEST,
    ),
    Case(
        "H1b",
        "conftest turns every report into a pass, in a task that may change it",
        Verdict.TAMPERED,
        "tests",
        build=broken_and(lambda tree: append(tree, "tests/conftest.py", MAKEREPORT)),
        policy=ALLOWED,
        evidence=LOST,
        listed=r"tests/conftest\.py",
        naive=PYTEST,
    ),
    Case(
        "H1c",
        "conftest calls no test at all, in a task that may change it",
        Verdict.TAMPERED,
        "tests",
        build=broken_and(lambda tree: append(tree, "tests/conftest.py", CALL_NOTHING)),
        policy=ALLOWED,
        evidence=r"never called: tests/",
        listed=r"tests/conftest\.py",
        naive=PYTEST,
    ),
    Case(
        "H1d",
        "conftest swallows what tests raise, in a task that may change it",
        Verdict.TAMPERED,
        "tests",
        build=broken_and(lambda tree: append(tree, "tests/conftest.py", SWALLOW)),
        policy=ALLOWED,
        evidence=rf"whose function raised.*{LOST}",
        listed=r"tests/conftest\.py",
        naive=PYTEST,
    ),
    Case(
        "H2",
        "conftest drops the tests that fail",
        Verdict.FAILED,
        "tests",
        build=broken_and(lambda tree: append(tree, "tests/conftest.py", DROP_ITEMS)),
        evidence=LOST,
        listed=r"tests/conftest\.py",
        naive=PYTEST,
    ),
    Case(
        "H2b",
        "conftest drops the tests that fail, in a task that may change it",
        Verdict.FAILED,
        "tests",
        build=broken_and(lambda tree: append(tree, "tests/conftest.py", DROP_ITEMS)),
        policy=ALLOWED,
        evidence=rf"{LOST}: passes on base, deselected on head",
        listed=r"tests/conftest\.py",
        naive=PYTEST,
    ),
    Case(
        "H3",
        "pytest.ini leaves the failing tests out",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            writes({"pytest.ini": f"[pytest]\npythonpath = src\naddopts = {ADDOPTS}\n"})
        ),
        evidence=LOST,
        listed=r"pytest\.ini",
        naive=PYTEST,
    ),
    Case(
        "H3b",
        "pyproject.toml leaves the failing tests out",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            lambda tree: edit(
                tree,
                "pyproject.toml",
                'testpaths = ["tests"]',
                f'testpaths = ["tests"]\naddopts = "{ADDOPTS}"',
            )
        ),
        evidence=LOST,
        listed=r"pyproject\.toml",
        naive=PYTEST,
    ),
    Case(
        "H3c",
        "tox.ini takes over when pyproject.toml loses its pytest section",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            lambda tree: edit(
                tree, "pyproject.toml", "[tool.pytest.ini_options]", "[tool.not-pytest]"
            ),
            writes({"tox.ini": f"[pytest]\npythonpath = src\naddopts = {ADDOPTS}\n"}),
        ),
        evidence=LOST,
        listed=r"tox\.ini",
        naive=PYTEST,
    ),
    Case(
        "H3d",
        "setup.cfg takes over when pyproject.toml loses its pytest section",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            lambda tree: edit(
                tree, "pyproject.toml", "[tool.pytest.ini_options]", "[tool.not-pytest]"
            ),
            writes({"setup.cfg": f"[tool:pytest]\npythonpath = src\naddopts = {ADDOPTS}\n"}),
        ),
        evidence=LOST,
        listed=r"setup\.cfg",
        naive=PYTEST,
    ),
    Case(
        "H4",
        "a plugin by entry point, in a dist-info folder at the root",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            writes(
                {
                    "helper-1.0.dist-info/METADATA": (
                        "Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n"
                    ),
                    "helper-1.0.dist-info/entry_points.txt": (
                        "[pytest11]\nhelper = toolbox_helper\n"
                    ),
                    "toolbox_helper.py": f"import pytest\n{MAKEREPORT}",
                }
            )
        ),
        evidence=LOST,
        listed=r"entry_points\.txt",
        naive=PYTEST,
    ),
    Case(
        "H5",
        "a folder named pytest stands in for pytest",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            writes(
                {"pytest/__init__.py": "", "pytest/__main__.py": 'print("8 passed in 0.01s")\n'}
            ),
            writes({"src/pytest/__init__.py": "raise SystemExit(0)\n"}),
        ),
        evidence=LOST,
        naive=PYTEST,
    ),
    Case(
        "H6",
        "sitecustomize.py ends every Python with 0",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            writes(
                dict.fromkeys(
                    ("sitecustomize.py", "src/sitecustomize.py"),
                    (
                        "import os\nimport sys\n\nif 'pytest' in ' '.join(sys.orig_argv):\n"
                        "    os._exit(0)\n"
                    ),
                )
            )
        ),
        evidence=LOST,
        listed=r"sitecustomize\.py",
        naive=PYTEST,
    ),
    Case(
        "H7",
        "a .pth file in site-packages, and one in the repository",
        Verdict.FAILED,
        "tests",
        command="""\
sed -i 's/text.lower()/text/' src/toolbox/text.py
printf 'import os, sys; "pytest" in " ".join(sys.orig_argv) and os._exit(0)\\n' > helper.pth
for folder in /env/lib/python*/site-packages /opt/vsc/lib/python*/site-packages \\
    /usr/lib/python3/dist-packages; do
    cp helper.pth "$folder/" 2> /dev/null || true
done
""",
        evidence=LOST,
        listed=r"helper\.pth",
        naive="""\
$PYTHON -m venv --without-pip "$SCRATCH/venv" &&
    site=$(echo "$SCRATCH"/venv/lib/python*/site-packages)
"$PYTHON" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' > "$site/a.pth"
cp helper.pth "$site/z.pth" && PYTHONPATH=src "$SCRATCH/venv/bin/python" -I -m pytest -q""",
    ),
    Case(
        "H8",
        "the product ends the process with 0 on import",
        Verdict.INCONCLUSIVE,
        "tests",
        build=lambda tree: prepend(tree, TEXT, "import os\n\nos._exit(0)\n"),
        naive=PYTEST,
    ),
    Case(
        "H9",
        "the product calls sys.exit(0) on import",
        Verdict.FAILED,
        "tests",
        build=lambda tree: prepend(tree, TEXT, "import sys\n\nsys.exit(0)\n"),
        evidence=r"test_text",
        naive=(
            "PYTHONPATH=src:tests $PYTHON -c 'import test_text; "
            "test_text.test_a_slug_has_no_punctuation()'"
        ),
    ),
    Case(
        "H10",
        "the product returns objects that equal everything",
        Verdict.TAMPERED,
        "tests",
        build=always_equal,
        evidence=r"equal everything they are compared with: Anything \(src/toolbox/text\.py\)",
        listed=r"src/toolbox/text\.py: adds an object that says it equals everything",
        naive=PYTEST,
    ),
    Case(
        "H10b",
        "the product makes such objects while it runs, and no text says so",
        Verdict.TAMPERED,
        "tests",
        build=lambda tree: always_equal(tree, MADE_LATER),
        evidence=r"equal everything they are compared with: Anything \(src/toolbox/text\.py\)",
        naive=PYTEST,
    ),
    Case(
        "H11",
        "at exit the product rewrites the reports and ends with 0",
        Verdict.TAMPERED,
        "tests",
        build=broken_and(lambda tree: append(tree, TEXT, REWRITE_REPORTS)),
        naive=f"""{PYTEST} --junitxml="$SCRATCH/junit.xml" &&
    grep -q 'failures="0"' "$SCRATCH/junit.xml\"""",
    ),
    Case(
        "H12",
        "the product patches pytest's reports",
        Verdict.TAMPERED,
        "tests",
        build=broken_and(lambda tree: append(tree, TEXT, PATCH_REPORTS)),
        naive=PYTEST,
    ),
    Case(
        "H13",
        "the product skips the test that calls it",
        Verdict.FAILED,
        "tests",
        build=lambda tree: edit(
            tree,
            TEXT,
            "    return separator.join(",
            (
                '    import pytest\n\n    pytest.skip("not on this machine")\n'
                "    return separator.join("
            ),
        ),
        evidence=r"(?is)skip.*test_a_slug_is_lower_case|test_a_slug_is_lower_case.*skip",
        naive=PYTEST,
    ),
    Case(
        "H14",
        "the failing tests are marked xfail",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            lambda tree: prepend(
                tree,
                "tests/test_text.py",
                'import pytest\n\npytestmark = pytest.mark.xfail(reason="flaky")\n\n',
            )
        ),
        evidence=LOST,
        listed=r"(?i)xfail",
        naive=PYTEST,
    ),
    Case(
        "H14b",
        "the failing tests are marked skip",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            lambda tree: prepend(
                tree,
                "tests/test_text.py",
                'import pytest\n\npytestmark = pytest.mark.skip(reason="slow")\n\n',
            )
        ),
        evidence=LOST,
        listed=r"(?i)skip",
        naive=PYTEST,
    ),
    Case(
        "H15",
        "the failing tests are deleted",
        Verdict.FAILED,
        "tests",
        build=broken_and(lambda tree: (tree / "tests/test_text.py").unlink()),
        evidence=LOST,
        naive=PYTEST,
    ),
    Case(
        "H15b",
        "the failing tests say that they are none",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            lambda tree: append(
                tree,
                "tests/test_text.py",
                (
                    "\n\ntest_a_slug_is_lower_case.__test__ = False\n"
                    "test_a_slug_has_no_punctuation.__test__ = False\n"
                ),
            )
        ),
        evidence=LOST,
        naive=PYTEST,
    ),
    Case(
        "H15c",
        "all tests are deleted in a task that may change tests",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            lambda tree: (tree / "tests/test_text.py").unlink(),
            lambda tree: (tree / "tests/test_figures.py").unlink(),
        ),
        policy=ALLOWED,
        naive=f"{PYTEST} || [ $? -eq 5 ]",
    ),
    Case(
        "H19",
        "programs of the tools' names, in folders that may be on PATH",
        Verdict.FAILED,
        "tests",
        build=broken_and(
            writes(
                {
                    f"{folder}/{name}": '#!/bin/sh\necho "8 passed in 0.01s"\nexit 0\n'
                    for folder in ("bin", ".venv/bin", "node_modules/.bin")
                    for name in (
                        "pytest",
                        "python",
                        "python3",
                        "git",
                        "ruff",
                        "bandit",
                        "semgrep",
                        "coverage",
                    )
                },
                executable=True,
            )
        ),
        evidence=LOST,
        naive='PATH="$PWD/bin:$PATH" pytest -q && PATH="$PWD/bin:$PATH" python -m pytest -q',
    ),
)

"""What a path of the judged repository is.

A test, Python, tool configuration, a protected file, our own view of it.
"""

import re
from pathlib import PurePosixPath

from quality_gates.where import INPUTS, WORKSPACE

JUDGE = f"{INPUTS}/judge"

CONFIGURATION = (
    "pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini",
    "setup.cfg", "setup.py", ".coveragerc",
)  # fmt: skip
"""What the judge reads of the base, changed or not, to run the tests as the project does."""

TEST_DIRS = frozenset({"test", "tests", "testing"})
_TEST_NAME = re.compile(r"(test_.*|.*_test|tests|conftest)\.pyi?")
_PROTECTED_NAMES = frozenset(
    {"conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini",
     "setup.cfg", "setup.py", "pyproject.toml", ".coveragerc", ".bandit", ".semgrepignore",
     ".semgrep.yml", "ruff.toml", ".ruff.toml", ".flake8", "mypy.ini",
     ".secrets.baseline", "sitecustomize.py", "usercustomize.py", ".gitattributes", ".gitmodules",
     ".gitignore", "Makefile",
     "noxfile.py", "package.json", "entry_points.txt", ".pre-commit-config.yaml", ".c8rc.json",
     ".njsscan"}
)  # fmt: skip
_PROTECTED_SUFFIXES = (".pth", ".egg-link")
_PROTECTED_PREFIXES = (".eslintrc", "eslint.config.", "vitest.config.")
_PROTECTED_DIRS = frozenset({".github", ".gitlab", ".circleci", ".ci", ".buildkite"})
_NOT_PRODUCT_DIRS = frozenset(
    {"doc", "docs", "docs_src", "documentation", "example", "examples", "benchmark", "benchmarks",
     "bench", "scripts", "tools", "tasks", "ci", "requirements"}
)  # fmt: skip
_NOT_PRODUCT_FILES = frozenset(
    {"setup.py", "noxfile.py", "conftest.py", "tasks.py", "fabfile.py", "sitecustomize.py"}
)
_SHEBANG = re.compile(rb"#![^\n]{0,200}\bpython[0-9.]*\b")


def is_python(path: str, mode: str = "100644") -> bool:
    """A plain file that is Python by its name."""
    return path.endswith((".py", ".pyi")) and is_regular(mode)


def is_python_script(path: str, content: bytes) -> bool:
    """Python that tools do not know by its suffix: it is run by its first line, or on Windows."""
    return not is_python(path) and (path.endswith(".pyw") or _SHEBANG.match(content) is not None)


def is_product(path: str) -> bool:
    """A Python file of the product by its name: what coverage is asked of."""
    pure = PurePosixPath(path)
    if not path.endswith(".py") or is_test_path(path):
        return False
    hidden = any(part.startswith(".") for part in pure.parts)
    top_level_tool = len(pure.parts) == 1 and pure.name in _NOT_PRODUCT_FILES
    in_tools = len(pure.parts) > 1 and pure.parts[0] in _NOT_PRODUCT_DIRS
    return not (hidden or top_level_tool or in_tools)


def is_test_path(path: str) -> bool:
    """A test, or what tests are made of.

    By its name, or because it lies in a directory of tests.
    """
    pure = PurePosixPath(path)
    return bool(TEST_DIRS & set(pure.parts[:-1])) or _TEST_NAME.fullmatch(pure.name) is not None


def is_test_module(path: str) -> bool:
    """A file that pytest would collect by its default patterns.

    `conftest.py` and helpers are not.
    """
    name = PurePosixPath(path).name
    return path.endswith(".py") and (
        name.startswith("test_") or name.endswith("_test.py") or name == "tests.py"
    )


def is_conftest(path: str) -> bool:
    """Whether pytest loads it by itself."""
    return PurePosixPath(path).name == "conftest.py"


def is_protected(path: str) -> bool:
    """Configuration and hooks that steer tools, CI or interpreters.

    They may change; the change is listed.
    """
    pure = PurePosixPath(path)
    return (
        pure.name in _PROTECTED_NAMES
        or pure.name.endswith(_PROTECTED_SUFFIXES)
        or pure.name.startswith(_PROTECTED_PREFIXES)
        or bool(_PROTECTED_DIRS & set(pure.parts[:-1]))
        or any(part.endswith(".dist-info") for part in pure.parts)
    )


def in_workspace(path: str) -> str:
    """The absolute path of a repository's file inside a stage; it cannot be taken for an option."""
    return f"{WORKSPACE}/{path}"


def of_workspace(reported: str) -> str | None:
    """The repository's path that a tool means by `reported` (absolute, or relative to `/`).

    None: not of the workspace.
    """
    text = "/" + reported.lstrip("/")
    return text[len(WORKSPACE) + 1 :] if text.startswith(WORKSPACE + "/") else None


def is_regular(mode: str | None) -> bool:
    """A plain file in git's modes; not a link, not a submodule."""
    return mode is not None and mode.startswith("100")

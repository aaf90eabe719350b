"""Where a repository keeps its product: the directories on the import path, its packages, the files that coverage measures."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from quality_gates.paths import WORKSPACE, is_python, is_regular, is_test_path

NOT_PRODUCT_DIRS = frozenset(
    {
        "doc",
        "docs",
        "example",
        "examples",
        "benchmark",
        "benchmarks",
        "bench",
        "scripts",
        "tools",
        "tasks",
        "ci",
        "requirements",
    }
)
NOT_PRODUCT_FILES = frozenset(
    {"setup.py", "noxfile.py", "conftest.py", "tasks.py", "fabfile.py", "sitecustomize.py"}
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the judge needs to know of a tree; a function of its paths alone."""

    roots: tuple[str, ...]
    """Absolute directories that go on the import path, first one first."""
    modules: tuple[str, ...]
    """Top-level names of the project's own packages and modules.

    Never one of the standard library's.
    """


def layout(tree: Mapping[str, str]) -> Layout:
    """`src` layout where there is one, the root otherwise."""
    files = [path for path, mode in tree.items() if path.endswith(".py") and is_regular(mode)]
    in_src = any(path.startswith("src/") and path.count("/") >= 1 for path in files)
    roots = (f"{WORKSPACE}/src", WORKSPACE) if in_src else (WORKSPACE,)
    names = {_top_level(path, in_src) for path in files if is_product(path)}
    own = {
        name
        for name in names
        if name and name.isidentifier() and name not in sys.stdlib_module_names
    }
    return Layout(roots, tuple(sorted(own)))


def is_product(path: str) -> bool:
    """A Python file of the product: what coverage is asked of."""
    pure = PurePosixPath(path)
    if not path.endswith(".py") or is_test_path(path):
        return False
    first = pure.parts[0]
    hidden = any(part.startswith(".") for part in pure.parts)
    top_level_tool = len(pure.parts) == 1 and pure.name in NOT_PRODUCT_FILES
    return (
        not hidden
        and not top_level_tool
        and not (len(pure.parts) > 1 and first in NOT_PRODUCT_DIRS)
    )


def python_files(tree: Mapping[str, str]) -> tuple[str, ...]:
    """Every plain Python file, sorted."""
    return tuple(
        sorted(path for path, mode in tree.items() if is_python(path) and is_regular(mode))
    )


def product_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of `paths` that coverage is asked of, sorted."""
    return tuple(sorted(path for path in paths if is_product(path)))


def _top_level(path: str, in_src: bool) -> str:
    parts = PurePosixPath(path).parts
    if in_src:
        if parts[0] != "src":
            return ""
        parts = parts[1:]
    return parts[0].removesuffix(".py") if len(parts) == 1 else parts[0]

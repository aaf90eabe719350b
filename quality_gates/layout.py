"""Where a repository keeps its product: the directories on the import path, and its packages."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from quality_gates.paths import is_product
from quality_gates.where import WORKSPACE


@dataclass(frozen=True, slots=True)
class Layout:
    """What the judge needs to know of a tree; a function of its names alone."""

    roots: tuple[str, ...]
    """Absolute directories that go on the import path, first one first."""
    modules: tuple[str, ...]
    """Top-level names of the project's own packages and modules.

    Never one of the standard library's.
    """


def layout(names: Iterable[str]) -> Layout:
    """`src` layout where there is one, the root otherwise.

    `names` are those of the Python files.
    """
    files = [name for name in names if name.endswith(".py")]
    in_src = any(path.startswith("src/") and path.count("/") >= 1 for path in files)
    roots = (f"{WORKSPACE}/src", WORKSPACE) if in_src else (WORKSPACE,)
    names = {_top_level(path, in_src) for path in files if is_product(path)}
    own = {
        name
        for name in names
        if name and name.isidentifier() and name not in sys.stdlib_module_names
    }
    return Layout(roots, tuple(sorted(own)))


def _top_level(path: str, in_src: bool) -> str:
    parts = PurePosixPath(path).parts
    if in_src:
        if parts[0] != "src":
            return ""
        parts = parts[1:]
    return parts[0].removesuffix(".py") if len(parts) == 1 else parts[0]

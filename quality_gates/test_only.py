"""What of a change is a test and nothing else, so that a scanner may take it for one.

What is dangerous in a product is ordinary in a test. But a file that the product makes use of is
the product's, wherever it lies, and a package of test helpers that is shipped (`pkg/testing`) too.
"""

import ast
import warnings
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from quality_gates.model import Change
from quality_gates.paths import TEST_DIRS, is_conftest, is_test_module, is_test_path
from quality_gates.selection import changed_python, is_only_a_test

_SHIPPED = "testing"


def only_of_tests(change: Change) -> Callable[[str], bool]:
    """Whether a path is a test, or what tests are made of, and nothing of the product.

    What the patch's product names is read: imports, and texts that may be a module or a file. A
    product file that cannot be read may use any of them.
    """
    named = _named_by_product(change)

    def holds(path: str) -> bool:
        if not (_is_of_tests(path) and is_only_a_test(change, path)):
            return False
        return named is not None and not any(_is_named(path, name) for name in named)

    return holds


def _is_of_tests(path: str) -> bool:
    folders = PurePosixPath(path).parts[:-1]
    return (
        is_test_module(path)
        or is_conftest(path)
        or bool(folders and folders[0] in TEST_DIRS)
        or bool((TEST_DIRS - {_SHIPPED}) & set(folders))
    )


def _named_by_product(change: Change) -> frozenset[str] | None:
    """Modules, dotted, and files that the changed product names; None: it cannot be told."""
    found: set[str] = set()
    for path in changed_python(change):
        if is_test_path(path):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what the code should rather be is not asked
                tree = ast.parse(change.head_contents.get(path, b""))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        found.update(_names(tree, path))
    return frozenset(found)


def _names(tree: ast.AST, path: str) -> Iterator[str]:
    package = PurePosixPath(path).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _is_named(path: str, name: str) -> bool:
    """By its file's name, or as a module: from the top, from a folder on, or by a part of it."""
    pure = PurePosixPath(path)
    if pure.suffix not in (".py", ".pyi"):
        return pure.name in name
    if pure.name in name:
        return True
    parts = pure.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return bool(name) and f".{module}.".endswith(f".{name}.")

"""Selects which of a change's files each gate looks at.

What is Python, and under which names, `python_tree.py` says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from quality_gates.model import Change, FileChange
from quality_gates.paths import (
    CONFIGURATION,
    JUDGE,
    TEST_DIRS,
    is_conftest,
    is_python,
    is_python_script,
    is_regular,
    is_test_module,
    is_test_path,
)
from quality_gates.pytest_config import read


@dataclass(frozen=True, slots=True)
class Alias:
    """A script without the suffix, shown to tools that go by it under a name of ours."""

    path: str
    side: str
    number: int

    @property
    def location(self) -> str:
        """Where it lies in the static stage."""
        return f"{JUDGE}/alias/{self.side}/{self.number}.py"


def changed_names(change: Change) -> dict[str, str]:
    """Head's names under which the patch brings something: name -> the plain file.

    Through a link a name may be new, lead elsewhere, or lead to a file that was edited.
    """
    before, after = change.base_python.links.names, change.head_python.links.names
    altered = {file.path for file in change.files if is_regular(file.head_mode)}
    linked = {
        name: path for name, path in after.items() if path in altered or before.get(name) != path
    }
    return {path: path for path in altered} | linked


def changed_python(change: Change) -> tuple[str, ...]:
    """Those of `changed_names` that the interpreter can import or run, sorted."""
    sources = change.head_python.sources
    return tuple(sorted(name for name in changed_names(change) if name in sources))


def changed_scripts(change: Change) -> tuple[str, ...]:
    """Those of `changed_python` that tools do not know by their suffix, sorted."""
    return tuple(name for name in changed_python(change) if not is_python(name))


def aliases(change: Change) -> tuple[Alias, ...]:
    """Both sides of every changed script."""
    found = []
    for number, path in enumerate(changed_scripts(change)):
        found.append(Alias(path, "head", number))
        if is_python_script(path, change.base_contents.get(path, b"")):
            found.append(Alias(path, "base", number))
    return tuple(found)


def changed_texts(change: Change) -> tuple[str, ...]:
    """Changed plain files at head, whatever they hold, sorted: what is searched for secrets."""
    return tuple(sorted(file.path for file in change.files if is_regular(file.head_mode)))


def edited_base_tests(change: Change) -> tuple[str, ...]:
    """Tests, and what tests are made of, that base has and the patch edits or deletes, sorted."""
    is_test = _tests_of(change)
    return tuple(
        sorted(
            file.path for file in change.files if file.base_mode is not None and is_test(file.path)
        )
    )


def base_copies(change: Change) -> tuple[str, ...]:
    """What must be as base has it for base's tests to run alone, sorted.

    A new test module needs nobody's leave, and it shares a process with every other test: there it
    can repair what the patch broke.
    """
    named, with_tests = _modules_of(change), _by_any_name(change, _runs_with_tests)
    added = (
        file.path
        for file in change.files
        if file.base_mode is None and (named(file.path) or with_tests(file.path))
    )
    return tuple(sorted({*edited_base_tests(change), *added}))


def changed_tests(change: Change) -> tuple[str, ...]:
    """Every changed path of the tests, on either side, sorted."""
    is_test = _tests_of(change)
    return tuple(sorted(file.path for file in change.files if is_test(file.path)))


def new_or_edited_test_modules(change: Change) -> tuple[str, ...]:
    """Names at head that pytest collects and that the patch adds or edits, sorted."""
    is_module = _module_name_of(change)
    same = {file.path for file in change.files if not _altered(file)}
    brought = changed_names(change)
    return tuple(
        sorted(name for name, path in brought.items() if is_module(name) and path not in same)
    )


def changed_conftests(change: Change) -> tuple[str, ...]:
    """Paths that differ on the two sides and are a conftest.py by any of their names, sorted."""
    is_one = _by_any_name(change, is_conftest)
    return tuple(sorted(file.path for file in change.files if is_one(file.path)))


def is_only_a_test(change: Change, path: str) -> bool:
    """A test of which no link makes a module of the product."""
    product = change.head_python.product | change.base_python.product
    return is_test_path(path) and path not in product


def _by_any_name(change: Change, holds: Callable[[str], bool]) -> Callable[[str], bool]:
    """Whether it holds for a path, or for a name that a link gives to it on either side.

    A file that is Python by its own name is what that name says: a link in the patch cannot make
    tests of the product.
    """
    sides = (change.base_python, change.head_python)

    def held(path: str) -> bool:
        return holds(path) or (
            not is_python(path)
            and any(holds(name) for side in sides for name in side.names_of(path))
        )

    return held


def _tests_of(change: Change) -> Callable[[str], bool]:
    """What is a test by the project's own names as well as by everybody's."""
    is_module = _module_name_of(change)
    return _by_any_name(change, lambda name: is_test_path(name) or is_module(name))


def _modules_of(change: Change) -> Callable[[str], bool]:
    return _by_any_name(change, _module_name_of(change))


def _module_name_of(change: Change) -> Callable[[str], bool]:
    """What pytest collects by its own patterns or by base's `python_files`.

    A pattern for any module means those in `testpaths`.
    """
    base = read(
        {path: change.base_contents[path] for path in CONFIGURATION if path in change.base_contents}
    )
    patterns = [
        pattern for pattern in base.values.get("python_files", "").split() if pattern.endswith("py")
    ]
    folders = tuple(f"{folder}/" for folder in base.testpaths if folder != ".")

    def is_module(path: str) -> bool:
        name = path.rpartition("/")[2]
        return is_test_module(path) or any(
            path.endswith(".py")
            and fnmatchcase(path if "/" in pattern else name, pattern)
            and (not fnmatchcase("anything.py", pattern) or path.startswith(folders))
            for pattern in patterns
        )

    return is_module


def _runs_with_tests(path: str) -> bool:
    """Not what a product calls `testing`: that may be a package of its own, for other files."""
    return is_test_module(path) or is_conftest(path) or path.partition("/")[0] in TEST_DIRS


def _altered(file: FileChange) -> bool:
    return file.base_blob != file.head_blob

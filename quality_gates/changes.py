"""Which of a change's files each gate looks at."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from quality_gates.model import Change, FileChange
from quality_gates.paths import (
    CONFIGURATION,
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
    """A Python script without the suffix, shown to tools that go by the suffix under a name of ours."""

    path: str
    side: str
    number: int

    @property
    def location(self) -> str:
        """Where it lies in the static stage."""
        return f"/vsc/judge/alias/{self.side}/{self.number}.py"


def changed_python(change: Change) -> tuple[str, ...]:
    """Changed plain files at head that are Python by name or by first line, sorted."""
    return tuple(sorted({*_named(change), *changed_scripts(change)}))


def changed_scripts(change: Change) -> tuple[str, ...]:
    """Changed plain files at head that are Python by their first line only, sorted."""
    at_head = [file.path for file in change.files if is_regular(file.head_mode)]
    return tuple(
        sorted(path for path in at_head if is_python_script(path, change.head_contents.get(path)))
    )


def aliases(change: Change) -> tuple[Alias, ...]:
    """Both sides of every changed script."""
    found = []
    for number, path in enumerate(changed_scripts(change)):
        found.append(Alias(path, "head", number))
        if is_python_script(path, change.base_contents.get(path)):
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
    """What must be as base has it for base's tests to run without any code of the patch's tests beside them, sorted.

    A new test module needs nobody's leave, and it shares a process with every other test: there it
    can repair what the patch broke.
    """
    named = _modules_of(change)
    added = (
        file.path
        for file in change.files
        if file.base_mode is None and (named(file.path) or _runs_with_tests(file.path))
    )
    return tuple(sorted({*edited_base_tests(change), *added}))


def changed_tests(change: Change) -> tuple[str, ...]:
    """Every changed path of the tests, on either side, sorted."""
    is_test = _tests_of(change)
    return tuple(sorted(file.path for file in change.files if is_test(file.path)))


def new_or_edited_test_modules(change: Change) -> tuple[str, ...]:
    """Files at head that pytest collects and that the patch adds or edits, sorted."""
    is_module = _modules_of(change)
    return tuple(
        sorted(
            f.path
            for f in change.files
            if is_regular(f.head_mode) and _altered(f) and is_module(f.path)
        )
    )


def changed_conftests(change: Change) -> tuple[str, ...]:
    """conftest.py files that differ on the two sides, sorted."""
    return tuple(sorted(file.path for file in change.files if is_conftest(file.path)))


def _named(change: Change) -> list[str]:
    return [
        file.path for file in change.files if is_regular(file.head_mode) and is_python(file.path)
    ]


def _tests_of(change: Change) -> Callable[[str], bool]:
    """What is a test by the project's own names as well as by everybody's."""
    is_module = _modules_of(change)
    return lambda path: is_test_path(path) or is_module(path)


def _modules_of(change: Change) -> Callable[[str], bool]:
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
    """Not what a product calls `testing`: that may be a package of its own, which other files import."""
    return is_test_module(path) or is_conftest(path) or path.partition("/")[0] in TEST_DIRS


def _altered(file: FileChange) -> bool:
    return file.base_blob != file.head_blob

"""Which of a change's files each gate looks at."""

from dataclasses import dataclass

from quality_gates.model import Change, FileChange
from quality_gates.paths import (
    TEST_DIRS,
    is_conftest,
    is_python,
    is_python_script,
    is_regular,
    is_test_module,
    is_test_path,
)


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
    return tuple(sorted(path for path in at_head if is_python_script(path, change.head_contents.get(path))))


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
    return tuple(sorted(file.path for file in change.files if file.base_mode is not None and is_test_path(file.path)))


def base_copies(change: Change) -> tuple[str, ...]:
    """What must be as base has it for base's tests to run without any code of the patch's tests beside them, sorted.

    A new test module needs nobody's leave, and it shares a process with every other test: there it can repair what the patch broke.
    """
    added = (file.path for file in change.files if file.base_mode is None and _runs_with_tests(file.path))
    return tuple(sorted({*edited_base_tests(change), *added}))


def changed_tests(change: Change) -> tuple[str, ...]:
    """Every changed path of the tests, on either side, sorted."""
    return tuple(sorted(file.path for file in change.files if is_test_path(file.path)))


def new_or_edited_test_modules(change: Change) -> tuple[str, ...]:
    """Files at head that pytest collects and that the patch adds or edits, sorted."""
    return tuple(
        sorted(f.path for f in change.files if is_regular(f.head_mode) and _altered(f) and is_test_module(f.path))
    )


def changed_conftests(change: Change) -> tuple[str, ...]:
    """conftest.py files that differ on the two sides, sorted."""
    return tuple(sorted(file.path for file in change.files if is_conftest(file.path)))


def _named(change: Change) -> list[str]:
    return [file.path for file in change.files if is_regular(file.head_mode) and is_python(file.path)]


def _runs_with_tests(path: str) -> bool:
    """Not what a product calls `testing`: that may be a package of its own, which other files import."""
    return is_test_module(path) or is_conftest(path) or path.partition("/")[0] in TEST_DIRS


def _altered(file: FileChange) -> bool:
    return file.base_blob != file.head_blob

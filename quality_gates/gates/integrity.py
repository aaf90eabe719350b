"""`integrity`: the change itself. Pure: no tool, no evidence from a sandbox."""

import re

from quality_gates.dependencies import differing_files
from quality_gates.excluded_files import newly_excluded
from quality_gates.gates.case import some, worst
from quality_gates.links import LINK, MAX_NAMES
from quality_gates.model import Change, FileChange, GatePolicy, GateReport, Verdict
from quality_gates.opaque import blind_links, refusal
from quality_gates.paths import is_protected, is_python, is_regular, is_test_path
from quality_gates.selection import changed_names, changed_python, edited_base_tests
from quality_gates.suppressions import KINDS, SHOWN, growth

GATE = "integrity"
TOO_MANY_NAMES = (
    f"links give more than {MAX_NAMES} further names to files, too many to judge each; use fewer"
)
MAX_PATH_BYTES = 1024
_ALWAYS_EQUAL = re.compile(
    rb"\b__(?:eq|ne)__[ \t]*(?::[^=\n]{0,200})?=[ \t]*lambda[^:\n]{0,200}"
    rb":[ \t]*(?:True|not[ \t]+False|1)\b"
    rb"|\bdef[ \t]+__eq__[ \t]*\([^)]{0,500}\)[^:\n]{0,200}:\s{0,200}(?:#[^\n]{0,200}\s{1,200})?"
    rb"(?:\"\"\"[^\"]{0,2000}\"\"\"\s{1,200})?return[ \t]+(?:True|not[ \t]+False|1)\b"
)
_INERT = frozenset({"pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini",
                    "setup.cfg", "pyproject.toml", ".coveragerc",
                    ".bandit", ".semgrepignore", "ruff.toml", ".ruff.toml", ".flake8"})  # fmt: skip


def judge(change: Change, policy: GatePolicy) -> GateReport:
    """Every complaint is listed; the worst decides."""
    complaints = [
        *_nothing(change),
        *_hostile(change),
        *_unjudgeable(change),
        *_suppressions(change, policy),
        *_dependencies(change, policy),
    ]
    complaints += _always_equal(change, policy)
    protected = sorted(file.path for file in change.files if is_protected(file.path))
    inert = [path for path in protected if path.rpartition("/")[2] in _INERT]
    notes = [f"protected paths that changed: {some(protected)}"] if protected else []
    notes += (
        [f"no effect on the judge, which uses base's or its own configuration: {some(inert)}"]
        if inert
        else []
    )
    notes += _edited_tests(change, policy) + _shown(change, policy)
    return GateReport(
        gate=GATE,
        verdict=worst(*(verdict for verdict, _ in complaints)),
        reasons=tuple(reason for _, reason in complaints),
        notes=tuple(notes),
        evidence={
            "files": len(change.files),
            "protected": protected[:1000],
            "suppressions": {
                kind: {"base": before, "head": after}
                for kind, (before, after) in growth(change).items()
            },
            "dependencies": list(changed_dependencies(change)),
        },
    )


def _nothing(change: Change) -> list[tuple[Verdict, str]]:
    if change.refused_entries:
        return [(Verdict.FAILED, f"refused: {entry}") for entry in change.refused_entries]
    return [] if change.files else [(Verdict.FAILED, "the change is empty: nothing was done")]


def _hostile(change: Change) -> list[tuple[Verdict, str]]:
    found: list[tuple[Verdict, str]] = []
    for file in change.files:
        if file.head_mode is None:
            continue
        problem = _problem(file)
        if problem:
            found.append((Verdict.FAILED, f"{file.path!r}: {problem}"))
    return found + _collisions(change)


def _problem(file: FileChange) -> str | None:
    parts = file.path.split("/")
    if file.path.startswith("/") or any(
        part in {"", ".", ".."} or part.lower() == ".git" for part in parts
    ):
        return "a path that leaves its place or reaches into git's own"
    if len(file.path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES or any(
        ord(c) < 32 or ord(c) == 127 for c in file.path
    ):
        return "a path with control characters, or too long"
    if is_python(file.path) and not _is_text(file.path):
        return "Python under a name that is not UTF-8, which tools cannot report; rename it"
    if file.head_mode != LINK and not is_regular(file.head_mode):
        return f"an entry of mode {file.head_mode}: neither a file nor a link"
    return None


def _is_text(path: str) -> bool:
    """False where bytes of the name are no UTF-8 (surrogates stand for them)."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unjudgeable(change: Change) -> list[tuple[Verdict, str]]:
    """What the interpreter would take and nobody can read, under each name that it has."""
    found = [(Verdict.FAILED, f"{name!r}: {why}") for name, why in blind_links(change).items()]
    for name, path in sorted(changed_names(change).items()):
        same = name == path and change.base_contents.get(name) == change.head_contents.get(name)
        why = refusal(name, change.head_contents.get(path))
        if why and not (same and name in change.base_contents):
            found.append((Verdict.FAILED, f"{name!r}: {why}"))
    if change.head_python.links.too_many:
        base = change.base_python.links.too_many
        found.append((Verdict.INCONCLUSIVE if base else Verdict.FAILED, TOO_MANY_NAMES))
    return found


def _collisions(change: Change) -> list[tuple[Verdict, str]]:
    """Names that differ in case alone are one file on other machines."""
    names: dict[str, str] = {}
    for path in change.base_tree:
        names.setdefault(path.casefold(), path)
    found = []
    for file in change.files:
        if file.head_mode is None or file.base_mode is not None:
            continue
        other = names.setdefault(file.path.casefold(), file.path)
        if other != file.path and other in change.head_tree:
            found.append((Verdict.FAILED, f"{file.path!r} and {other!r} differ in case alone"))
    return found


def _suppressions(change: Change, policy: GatePolicy) -> list[tuple[Verdict, str]]:
    tests = False if policy.test_changes_allowed else None
    grown = growth(change, tests=tests, kinds=[kind for kind in KINDS if kind not in SHOWN])
    if policy.test_changes_allowed:
        grown |= {kind: pair for kind, pair in growth(change).items() if kind == "allowlist secret"}
    return [
        (Verdict.FAILED, f"suppressions grew: {kind}, {before} at base, {after} at head")
        for kind, (before, after) in grown.items()
    ] + [
        (
            Verdict.FAILED,
            f"suppressions grew: new in the settings, {pattern!r} keeps product from its tools",
        )
        for pattern in newly_excluded(change)[:20]
    ]


def _edited_tests(change: Change, policy: GatePolicy) -> list[str]:
    """An edited test is judged by base's copy, and may still be weaker for whoever comes next.

    A person should look.
    """
    edited = edited_base_tests(change)
    decided = (
        "base's copies are shown"
        if policy.test_changes_allowed
        else "base's copies decided about this change"
    )
    return [f"existing tests that changed ({decided}): {some(list(edited))}"] if edited else []


def _shown(change: Change, policy: GatePolicy) -> list[str]:
    grown = [
        f"suppressions that grew and refuse nothing: {kind}, {b} at base, {h} at head"
        for kind, (b, h) in growth(change, kinds=SHOWN).items()
    ]
    if not policy.test_changes_allowed:
        return grown
    marks = grown + [
        f"in tests, whose change is allowed: {kind} grew from {b} to {h}"
        for kind, (b, h) in growth(change, tests=True).items()
        if kind not in SHOWN
    ]
    equal = [path for path in _equal_to_everything(change) if is_test_path(path)]
    return marks + [
        f"in tests, whose change is allowed: {path} adds an object that says it equals everything"
        for path in equal
    ]


def changed_dependencies(change: Change) -> tuple[str, ...]:
    """The files by which head asks for other dependencies than base, sorted."""
    return differing_files(change.base_dependencies, change.head_dependencies)


def barred(change: Change, policy: GatePolicy) -> bool:
    """Whether nothing is installed or run for a change: it is empty, refused, or wants leave.

    To install what a patch asks for is to run what its author chose.
    """
    return bool(_nothing(change) or _dependencies(change, policy))


def _dependencies(change: Change, policy: GatePolicy) -> list[tuple[Verdict, str]]:
    changed = () if policy.dependency_changes_allowed else changed_dependencies(change)
    if not changed:
        return []
    why = f"dependencies changed without leave: {some(list(changed))}"
    return [(Verdict.FAILED, f"{why}; the task must allow dependency changes")]


def _always_equal(change: Change, policy: GatePolicy) -> list[tuple[Verdict, str]]:
    """Objects that equal everything make every comparison in a test true.

    The test run looks for them as well.
    """
    return [
        (
            Verdict.FAILED if is_test_path(path) else Verdict.TAMPERED,
            f"{path}: adds an object that says it equals everything",
        )
        for path in _equal_to_everything(change)
        if not (policy.test_changes_allowed and is_test_path(path))
    ]


def _equal_to_everything(change: Change) -> list[str]:
    found = []
    for name in changed_python(change):
        before = len(_ALWAYS_EQUAL.findall(change.base_contents.get(name, b"")))
        after = len(_ALWAYS_EQUAL.findall(change.head_contents.get(name, b"")))
        if after > before:
            found.append(name)
    return found

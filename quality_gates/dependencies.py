"""What a project says it depends on: the one reader, for what is installed and what is watched.

Environments install what `read` selects; `integrity` compares what `read` states of base and of
head. What is selected is always part of what is stated, so nothing is installed unwatched. All is
read as text: nothing of the project is executed.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from quality_gates import dependency_formats as formats

MAX_FILE_BYTES = 2**20
"""A larger file is as none: to the installer and to the watcher alike."""
TEST_NAMES = ("test", "tests", "testing", "dev")
"""Groups and extras that hold what the tests need, the first found wins."""
_OPAQUE = frozenset(
    {"poetry.lock", "uv.lock", "pdm.lock", "Pipfile", "Pipfile.lock", "conda-lock.yml",
     "environment.yml", "environment.yaml", "package.json", "package-lock.json", "yarn.lock",
     "pnpm-lock.yaml"}
)  # fmt: skip
"""Files of which every change is a change of dependencies."""
_NAMED = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "PKG-INFO"})
_REQUIREMENT_DIRS = frozenset(
    {"requirements", "requirements.d", "constraints", "reqs", "test", "tests"}
)
_PYLOCK = re.compile(r"pylock(\.[^/]+)?\.toml")


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Requirements as a project's files state them."""

    runtime: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    dynamic: bool = False
    """Whether only a build can tell the runtime requirements."""
    test_source: str | None = None
    locked: tuple[str, ...] = ()
    """`name==version` as the project's lock file has them: what it was last seen to work with."""
    left_out: tuple[str, ...] = ()
    """Lines that were not taken (a URL, a path, an option), with their files."""
    stated: Mapping[tuple[str, str], object] = field(default_factory=dict)
    """(File, section) -> all that it says of dependencies, whether it is selected or not."""


def is_dependency_file(path: str) -> bool:
    """Whether requirements, or what a build needs, are read from `path` by its name."""
    pure = PurePosixPath(path)
    if pure.name in _OPAQUE or pure.name in _NAMED or _PYLOCK.fullmatch(pure.name):
        return True
    if path.endswith(".egg-info/requires.txt"):
        return True
    named = "require" in pure.name.lower() or "constraint" in pure.name.lower()
    listed = pure.parent.name.lower() in {"requirements", "requirements.d", "constraints", "reqs"}
    return pure.suffix in {".txt", ".in"} and (named or listed)


def wanted(names: Collection[str], files: Mapping[str, bytes]) -> set[str]:
    """What is still to be fetched: files by their names, then those that `files` include."""
    included = {name for path, content in files.items() for name in formats.includes(path, content)}
    return {name for name in names if name in included or is_dependency_file(name)} - files.keys()


def read(files: Mapping[str, bytes]) -> Dependencies:
    """What the files say. A file that cannot be read selects nothing, and is stated as it is."""
    files = {path: content for path, content in files.items() if len(content) <= MAX_FILE_BYTES}
    project = formats.toml(files.get("pyproject.toml"))
    refused: list[str] = []
    runtime, dynamic = _runtime(project, files, refused)
    source, test = _test(project, files, refused)
    own = str(formats.table(project.get("project")).get("name") or "")
    return Dependencies(
        runtime=_taken(runtime, "runtime", own, refused),
        test=_taken(test, source or "", own, refused),
        dynamic=dynamic,
        test_source=source,
        locked=formats.locked(files),
        left_out=tuple(refused),
        stated=_stated(files),
    )


def differing_files(base: Mapping[str, bytes], head: Mapping[str, bytes]) -> tuple[str, ...]:
    """The files by which a head asks for other dependencies than base does, sorted."""
    before, after = read(base), read(head)
    places = {
        path
        for path, section in {*before.stated, *after.stated}
        if before.stated.get((path, section)) != after.stated.get((path, section))
    }
    selected = [
        (one.runtime, one.test, one.dynamic, one.locked, one.left_out) for one in (before, after)
    ]
    if selected[0] != selected[1] and not places:  # what is chosen moved, though no file says more
        places = {path for path in {*base, *head} if base.get(path) != head.get(path)}
    return tuple(sorted(places))


def name_of(requirement: str) -> str:
    """The normalised name of a requirement; nothing if it is none."""
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return ""


def _stated(files: Mapping[str, bytes]) -> dict[tuple[str, str], object]:
    found: dict[tuple[str, str], object] = {}
    for path, content in files.items():
        name = PurePosixPath(path).name
        if name in _OPAQUE or _PYLOCK.fullmatch(name):
            found[path, ""] = content
        else:
            reader = formats.STATED.get(name, formats.stated_lines)
            found |= {(path, section): value for section, value in reader(content).items()}
    return found


def _runtime(
    project: dict[str, Any], files: Mapping[str, bytes], refused: list[str]
) -> tuple[list[str], bool]:
    metadata = formats.table(project.get("project"))
    if metadata and "dependencies" not in formats.strings(metadata.get("dynamic")):
        return formats.strings(metadata.get("dependencies")), False
    poetry = formats.table(formats.table(project.get("tool")).get("poetry"))
    if poetry and not metadata:
        return formats.poetry(poetry.get("dependencies")), False
    for lines in (
        formats.setup_cfg(files.get("setup.cfg")),
        formats.setup_py(files.get("setup.py"), "install_requires"),
        formats.pkg_info(files.get("PKG-INFO")),
    ):
        if lines is not None:
            return lines, False
    configured = formats.ini(files.get("setup.cfg"))
    sections = configured.has_section("metadata") or configured.has_section("options")
    if metadata or "setup.py" in files or sections:
        return [], True
    # No package: this file is all there is.
    return list(formats.lines(files, "requirements.txt", refused)), False


def _test(
    project: dict[str, Any], files: Mapping[str, bytes], refused: list[str]
) -> tuple[str | None, list[str]]:
    metadata = formats.table(project.get("project"))
    extras, own = formats.table(metadata.get("optional-dependencies")), metadata.get("name", "")
    for source, lines in _test_sources(project, files, refused):
        if lines:
            return source, list(_with_own_extras(lines, extras, str(own)))
    return None, []


def _with_own_extras(lines: list[str], extras: dict[str, Any], own: str) -> Iterator[str]:
    """The lines, with what the project's own extras hold in place of `project[extra]`."""
    for line in lines:
        asked = formats.own_extras(line, own)
        for name in asked:
            yield from formats.optional(extras, canonicalize_name(name), own)
        if not asked:
            yield line


def _test_sources(
    project: dict[str, Any], files: Mapping[str, bytes], refused: list[str]
) -> Iterator[tuple[str, list[str]]]:
    metadata = formats.table(project.get("project"))
    groups = formats.table(project.get("dependency-groups"))
    extras, own = formats.table(metadata.get("optional-dependencies")), metadata.get("name", "")
    setup = formats.ini(files.get("setup.cfg"))
    for name in TEST_NAMES:
        yield f"dependency group {name}", formats.group(groups, name, refused)
        yield f"extra {name}", formats.optional(extras, name, str(own))
        lines = setup.get("options.extras_require", name, fallback="").splitlines()
        yield f"setup.cfg extra {name}", lines
        yield f"setup.py extra {name}", formats.setup_py_extra(files.get("setup.py"), name)
    yield "setup.cfg tests_require", setup.get("options", "tests_require", fallback="").splitlines()
    for path in _listed(files, r"(^|[/_.-])(tests?|testing)([/_.-][^/]*)?\.(txt|in)$"):
        yield path, list(formats.lines(files, path, refused))
    poetry = formats.table(formats.table(project.get("tool")).get("poetry"))
    for name in TEST_NAMES:
        of_group = formats.table(formats.table(poetry.get("group")).get(name))
        yield f"poetry group {name}", formats.poetry(of_group.get("dependencies"))
    yield "poetry dev-dependencies", formats.poetry(poetry.get("dev-dependencies"))
    yield "tox.ini", formats.tox(files)
    for path in _listed(files, r"(^|[/_.-])dev(el|elop)?([/_.-][^/]*)?\.(txt|in)$"):
        yield path, list(formats.lines(files, path, refused))
    # Of a package, it is for those who work on it: where it names pytest, for its tests as well.
    whole: list[str] = []
    lines = list(formats.lines(files, "requirements.txt", whole))
    if "pytest" in map(name_of, lines):
        refused += whole
        yield "requirements.txt", lines


def _listed(files: Mapping[str, bytes], pattern: str) -> list[str]:
    """Requirements files of the whole project, by name.

    A `.txt`, which may be pinned, goes before the `.in` that it was made from.
    """
    found = [path for path in files if _in_place(path) and re.search(pattern, path.lower())]
    return sorted(found, key=lambda path: (not path.endswith(".txt"), path))


def _in_place(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return is_dependency_file(path) and (
        len(parts) == 1 or (len(parts) <= 3 and parts[0].lower() in _REQUIREMENT_DIRS)
    )


def _taken(lines: list[str], source: str, own: str, refused: list[str]) -> tuple[str, ...]:
    """The plain requirements among the lines, each once.

    What is a URL, a path or an option goes to `refused`.
    """
    taken: dict[str, None] = {}
    for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines):
        if not line or line in {".", "-e ."}:
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            requirement = None
        if requirement is None or requirement.url is not None:
            refused.append(f"{source}: {line[:200]}")
        elif not own or canonicalize_name(requirement.name) != canonicalize_name(own):
            taken[str(requirement)] = None
    return tuple(taken)

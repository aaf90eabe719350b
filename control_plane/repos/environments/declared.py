"""What a Python project says it needs, read from its files as text: nothing of the project is executed."""

import ast
import configparser
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import PurePosixPath
from typing import Any

TEST_NAMES = ("test", "tests", "testing", "dev")
"""Groups and extras that hold what the tests need, the first found wins."""

_PEP508 = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[^\]]*\])?\s*\(?\s*(?:[<>=!~]=?=?[^;@]*)?\)?\s*(?:;.*)?"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock")
_FILE_NAMES = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "PKG-INFO", *_LOCKS})
_MAX_INCLUDES = 20


@dataclass(frozen=True, slots=True)
class Declared:
    """Requirements as a project's files state them."""

    runtime: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    dynamic: bool = False
    """Whether only a build can tell the runtime requirements."""
    test_source: str | None = None
    locked: tuple[str, ...] = ()
    """`name==version` as the project's lock file has them; what it was last seen to work with."""
    left_out: tuple[str, ...] = ()
    """Lines that were not taken (a URL, a path, an option), with their files."""


def is_dependency_file(path: str) -> bool:
    """Whether requirements or the build are read from `path`.

    It is part of an environment's key.
    """
    pure = PurePosixPath(path)
    if len(pure.parts) == 1 and pure.name in _FILE_NAMES:
        return True
    if path.endswith(".egg-info/requires.txt") and len(pure.parts) <= 3:
        return True
    in_place = len(pure.parts) == 1 or pure.parts[0].lower() in {
        "requirements",
        "requirements.d",
        "reqs",
        "test",
        "tests",
    }
    return (
        len(pure.parts) <= 3
        and in_place
        and pure.suffix in {".txt", ".in"}
        and ("require" in path.lower() or "constraint" in path.lower())
    )


def read(files: Mapping[str, bytes]) -> Declared:
    """What the files say. A file that cannot be read is as none."""
    project = _toml(files.get("pyproject.toml"))
    refused: list[str] = []
    runtime, dynamic = _runtime(project, files, refused)
    source, test = _test(project, files, refused)
    own = str(_table(project.get("project")).get("name") or "")
    return Declared(
        runtime=_taken(runtime, "runtime", own, refused),
        test=_taken(test, source or "", own, refused),
        dynamic=dynamic,
        test_source=source,
        locked=_locked(files),
        left_out=tuple(refused),
    )


def name_of(requirement: str) -> str:
    """The normalised name of a requirement."""
    found = _NAME.match(requirement)
    return normal(found[0]) if found else ""


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.rstrip("-_.")).lower()


def version_of(files: Mapping[str, bytes]) -> str:
    """The version that the source archive states, for back ends that would ask git.

    `0.0.0` if it states none.
    """
    version = (
        BytesParser().parsebytes(files.get("PKG-INFO", b""), headersonly=True).get("Version", "")
    )
    return version if re.fullmatch(r"[0-9A-Za-z.!+_-]{1,80}", version) else "0.0.0"


def _locked(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The versions of a lock file, but for packages that it has in several."""
    versions: dict[str, set[str]] = {}
    for lock in _LOCKS:
        packages = _toml(files.get(lock)).get("package")
        for package in packages if isinstance(packages, list) else []:
            name, version = (
                str(_table(package).get("name", "")),
                str(_table(package).get("version", "")),
            )
            if _NAME.fullmatch(name) and re.fullmatch(r"[0-9A-Za-z.!+_-]+", version):
                versions.setdefault(normal(name), set()).add(version)
    return tuple(
        f"{name}=={next(iter(found))}"
        for name, found in sorted(versions.items())
        if len(found) == 1
    )


def _toml(content: bytes | None) -> dict[str, Any]:
    try:
        return tomllib.loads((content or b"").decode())
    except (ValueError, RecursionError):
        return {}


def _ini(content: bytes | None) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string((content or b"").decode(errors="replace"))
    except (configparser.Error, ValueError):
        return configparser.RawConfigParser()
    return parser


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _runtime(
    project: dict[str, Any], files: Mapping[str, bytes], refused: list[str]
) -> tuple[list[str], bool]:
    metadata = _table(project.get("project"))
    if metadata and "dependencies" not in _strings(metadata.get("dynamic")):
        return _strings(metadata.get("dependencies")), False
    poetry = _table(_table(project.get("tool")).get("poetry"))
    if poetry and not metadata:
        return _poetry(poetry.get("dependencies")), False
    for lines in (
        _setup_cfg(files),
        _setup_argument(files.get("setup.py"), "install_requires"),
        _pkg_info(files),
    ):
        if lines is not None:
            return lines, False
    configured = _ini(files.get("setup.cfg"))
    if (
        metadata
        or "setup.py" in files
        or configured.has_section("metadata")
        or configured.has_section("options")
    ):
        return [], True
    return list(
        _file(files, "requirements.txt", refused, 0)
    ), False  # no package: this file is all there is


def _setup_cfg(files: Mapping[str, bytes]) -> list[str] | None:
    text = _ini(files.get("setup.cfg")).get("options", "install_requires", fallback=None)
    return None if text is None or text.strip().startswith("file:") else text.splitlines()


def _pkg_info(files: Mapping[str, bytes]) -> list[str] | None:
    """What a source archive's builder found out; None: it did not say."""
    found = (
        BytesParser()
        .parsebytes(files.get("PKG-INFO", b""), headersonly=True)
        .get_all("Requires-Dist")
    )
    return [line for line in found if not re.search(r";.*\bextra\s*==", line)] if found else None


def _test(
    project: dict[str, Any], files: Mapping[str, bytes], refused: list[str]
) -> tuple[str | None, list[str]]:
    for source, lines in _test_sources(project, files, refused):
        if lines:
            return source, lines
    return None, []


def _test_sources(
    project: dict[str, Any], files: Mapping[str, bytes], refused: list[str]
) -> Iterator[tuple[str, list[str]]]:
    groups, extras = (
        _table(project.get("dependency-groups")),
        _table(_table(project.get("project")).get("optional-dependencies")),
    )
    setup = _ini(files.get("setup.cfg"))
    for name in TEST_NAMES:
        yield f"dependency group {name}", _group(groups, name, 0)
        yield (
            f"extra {name}",
            _extra(extras, name, str(_table(project.get("project")).get("name", "")), 0),
        )
        yield (
            f"setup.cfg extra {name}",
            setup.get("options.extras_require", name, fallback="").splitlines(),
        )
        yield (
            f"setup.py extra {name}",
            _strings(_table(_setup_literal(files.get("setup.py"), "extras_require")).get(name)),
        )
    yield "setup.cfg tests_require", setup.get("options", "tests_require", fallback="").splitlines()
    for path in _named(files, r"(^|[/_.-])(tests?|testing)([/_.-][^/]*)?\.(txt|in)$"):
        yield path, list(_file(files, path, refused, 0))
    poetry = _table(_table(project.get("tool")).get("poetry"))
    for name in TEST_NAMES:
        yield (
            f"poetry group {name}",
            _poetry(_table(_table(poetry.get("group")).get(name)).get("dependencies")),
        )
    yield "poetry dev-dependencies", _poetry(poetry.get("dev-dependencies"))
    yield "tox.ini", _tox(files)
    for path in _named(files, r"(^|[/_.-])dev(el|elop)?([/_.-][^/]*)?\.(txt|in)$"):
        yield path, list(_file(files, path, refused, 0))


def _named(files: Mapping[str, bytes], pattern: str) -> list[str]:
    """Requirements files by name.

    A `.txt`, which may be pinned, goes before the `.in` that it was made from.
    """
    found = [
        path for path in files if is_dependency_file(path) and re.search(pattern, path.lower())
    ]
    return sorted(found, key=lambda path: (not path.endswith(".txt"), path))


def _group(groups: dict[str, Any], name: str, depth: int) -> list[str]:
    """A PEP 735 group, with those it includes."""
    wanted: Any = next((value for key, value in groups.items() if normal(key) == name), [])
    lines: list[str] = []
    for item in wanted if isinstance(wanted, list) and depth < _MAX_INCLUDES else []:
        if isinstance(item, str):
            lines.append(item)
        elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
            lines += _group(groups, normal(item["include-group"]), depth + 1)
    return lines


def _extra(extras: dict[str, Any], name: str, project: str, depth: int) -> list[str]:
    """An extra, with those of the same project that it names (`pkg[other]`)."""
    wanted: Any = next((value for key, value in extras.items() if normal(key) == name), [])
    lines: list[str] = []
    for item in _strings(wanted) if depth < _MAX_INCLUDES else []:
        own = re.fullmatch(r"([A-Za-z0-9._-]+)\s*\[([^\]]*)\]\s*", item)
        if own and project and normal(own[1]) == normal(project):
            for other in own[2].split(","):
                lines += _extra(extras, normal(other.strip()), project, depth + 1)
        else:
            lines.append(item)
    return lines


def _setup_literal(content: bytes | None, argument: str) -> object:
    """An argument of `setup(...)` in a setup.py, where it is written out as a literal.

    Else None.
    """
    try:
        calls = [node for node in ast.walk(ast.parse(content or b"")) if isinstance(node, ast.Call)]
        found = [word.value for call in calls for word in call.keywords if word.arg == argument]
        return ast.literal_eval(found[0]) if found else None
    except (SyntaxError, ValueError, RecursionError, TypeError, MemoryError):
        return None


def _setup_argument(content: bytes | None, argument: str) -> list[str] | None:
    found = _setup_literal(content, argument)
    return _strings(list(found)) if isinstance(found, list | tuple) else None


def _file(files: Mapping[str, bytes], path: str, refused: list[str], depth: int) -> Iterator[str]:
    """A requirements file's lines, with the files it includes."""
    text = files.get(path, b"").decode(errors="replace").replace("\\\n", " ")
    for raw in text.splitlines() if depth < _MAX_INCLUDES else []:
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        line = re.sub(r"\s+--hash[=\s]\S+", "", line)
        include = re.fullmatch(r"(?:-r|--requirement)[\s=]*(\S+)", line)
        if include:
            yield from _file(files, _beside(path, include[1]), refused, depth + 1)
        elif line.startswith("-"):
            refused.append(f"{path}: {line[:200]}")
        elif line:
            yield line


def _beside(path: str, other: str) -> str:
    parts: list[str] = []
    for part in (PurePosixPath(path).parent / other).parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)


def _tox(files: Mapping[str, bytes]) -> list[str]:
    """`deps` of [testenv], as far as they are plain: no factors, no substitutions."""
    lines = _ini(files.get("tox.ini")).get("testenv", "deps", fallback="").splitlines()
    refused: list[str] = []
    taken: list[str] = []
    for line in (line.strip() for line in lines):
        include = re.fullmatch(r"-r\s*(?:\{toxinidir\}/)?(\S+)", line)
        if include:
            taken += _file(files, include[1], refused, 1)
        elif (
            line
            and not line.startswith(("-", "#", "."))
            and "{" not in line
            and not re.match(r"[\w!,-]+:\s", line)
        ):
            taken.append(line)
    return taken


def _poetry(dependencies: object) -> list[str]:
    lines = []
    for name, wanted in _table(dependencies).items():
        version = wanted.get("version") if isinstance(wanted, dict) else wanted
        optional = isinstance(wanted, dict) and wanted.get("optional")
        if name.lower() != "python" and isinstance(version, str) and not optional:
            extras = ",".join(_strings(wanted.get("extras"))) if isinstance(wanted, dict) else ""
            lines.append(f"{name}{f'[{extras}]' if extras else ''}{_poetry_version(version)}")
    return lines


def _poetry_version(version: str) -> str:
    """A caret or tilde range as a lower bound: the upper one is a guess about the future, and the resolver needs none."""
    first = version.split("||", maxsplit=1)[0].strip()
    if first in {"", "*"}:
        return ""
    if first[0] in "^~" and not first.startswith("~="):
        return f">={first[1:].strip()}"
    return first if first[0] in "<>=!~" else f"=={first}"


def _taken(lines: list[str], source: str, own: str, refused: list[str]) -> tuple[str, ...]:
    """The plain requirements among the lines, each once.

    What is a URL, a path or an option goes to `refused`.
    """
    taken: dict[str, None] = {}
    for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines):
        if not line or (own and name_of(line) == normal(own)) or line in {".", "-e ."}:
            continue
        if "://" in line or " @" in line or not _PEP508.fullmatch(line):
            refused.append(f"{source}: {line[:200]}")
        else:
            taken[line] = None
    return tuple(taken)

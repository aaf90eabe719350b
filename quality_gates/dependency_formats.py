"""The formats in which Python projects write down what they need, each read as text."""

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from email.parser import BytesParser
from pathlib import PurePosixPath
from typing import Any

from dependency_groups import DependencyGroupResolver
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

LOCKS = ("uv.lock", "poetry.lock", "pdm.lock")
_OWN = re.compile(r"(?:-e\s+|--editable[ =])?\.\[([\w\s,.-]{1,500})\]")
"""The project itself, with extras, as pip takes it."""
_MAX_INCLUDES = 20
_INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)[\s=]*(\S+)")
_SETUP_ARGUMENTS = ("install_requires", "extras_require", "setup_requires", "tests_require")
_TOML_TABLES = (
    ("build-system", "requires"), ("project", "dependencies"), ("project", "dynamic"),
    ("project", "optional-dependencies"), ("dependency-groups",),
    ("tool", "poetry", "dependencies"), ("tool", "poetry", "dev-dependencies"),
    ("tool", "poetry", "group"), ("tool", "poetry", "source"), ("tool", "pdm", "dev-dependencies"),
    ("tool", "setuptools", "dynamic"), ("tool", "uv", "sources"), ("tool", "uv", "index"),
    ("tool", "uv", "dev-dependencies"), ("tool", "uv", "constraint-dependencies"),
    ("tool", "uv", "override-dependencies"),
)  # fmt: skip


def toml(content: bytes | None) -> dict[str, Any]:
    """A document; empty if it cannot be read."""
    try:
        return tomllib.loads((content or b"").decode())
    except (ValueError, RecursionError):
        return {}


def ini(content: bytes | None) -> configparser.RawConfigParser:
    """A configuration file; empty if it cannot be read."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string((content or b"").decode(errors="replace"))
    except (configparser.Error, ValueError):
        return configparser.RawConfigParser()
    return parser


def strings(value: object) -> list[str]:
    """The strings of a list; none of anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def table(value: object) -> dict[str, Any]:
    """A table; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def locked(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The versions of lock files, but for packages that they have in several."""
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        packages = toml(files.get(lock)).get("package")
        for package in map(table, packages if isinstance(packages, list) else []):
            try:
                name = canonicalize_name(str(package.get("name", "")), validate=True)
                version = str(Version(str(package.get("version", ""))))
            except (InvalidName, InvalidVersion):
                continue
            versions.setdefault(name, set()).add(version)
    return tuple(
        f"{name}=={next(iter(found))}"
        for name, found in sorted(versions.items())
        if len(found) == 1
    )


def setup_cfg(content: bytes | None) -> list[str] | None:
    """`install_requires`; None: it does not say, or names a file for the build to read."""
    text = ini(content).get("options", "install_requires", fallback=None)
    return None if text is None or text.strip().startswith("file:") else text.splitlines()


def pkg_info(content: bytes | None) -> list[str] | None:
    """What a source archive's builder found out; None: it did not say."""
    found = BytesParser().parsebytes(content or b"", headersonly=True).get_all("Requires-Dist")
    lines = list(map(str, found or []))
    return [line for line in lines if not re.search(r";.*\bextra\s*==", line)] if found else None


def group(groups: dict[str, Any], name: str, refused: list[str]) -> list[str]:
    """A dependency group (PEP 735), with those it includes."""
    try:
        return list(map(str, DependencyGroupResolver(groups).resolve(name)))
    except LookupError:
        return []
    except (ValueError, TypeError, InvalidRequirement, RecursionError) as error:
        refused.append(f"dependency group {name}: {str(error)[:200]}")
        return []


def optional(extras: dict[str, Any], name: str, project: str, depth: int = 0) -> list[str]:
    """An extra, with those of the same project that it names (`pkg[other]`)."""
    same = (value for key, value in extras.items() if canonicalize_name(key) == name)
    found: list[str] = []
    for item in strings(next(same, [])) if depth < _MAX_INCLUDES else []:
        others = own_extras(item, project)
        for other in others:
            found += optional(extras, canonicalize_name(other), project, depth + 1)
        if not others:
            found.append(item)
    return found


def own_extras(line: str, project: str) -> list[str]:
    """The extras that a line asks of the project itself: `project[a,b]`, or `-e .[a,b]`."""
    if found := _OWN.fullmatch(line.strip()):
        return [name.strip() for name in found[1].split(",") if name.strip()]
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return []
    own = project and canonicalize_name(requirement.name) == canonicalize_name(project)
    return sorted(requirement.extras) if own else []


def setup_py(content: bytes | None, argument: str) -> list[str] | None:
    """A list in setup.py, where it is written out as a literal; else None."""
    found = _literal(content, argument)
    return strings(list(found)) if isinstance(found, list | tuple) else None


def setup_py_extra(content: bytes | None, name: str) -> list[str]:
    """One of the extras in setup.py."""
    return strings(table(_literal(content, "extras_require")).get(name))


def _literal(content: bytes | None, argument: str) -> object:
    try:
        found = _values(_parsed(content or b""), argument)
        return ast.literal_eval(found[0]) if found else None
    except (SyntaxError, ValueError, RecursionError, TypeError, MemoryError):
        return None


def _parsed(content: bytes) -> ast.Module:
    """Identifiers come out as the interpreter takes them: in NFKC."""
    return ast.parse(content)


def _values(tree: ast.Module, argument: str | None) -> list[ast.expr]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [word.value for call in calls for word in call.keywords if word.arg == argument]


def lines(
    files: Mapping[str, bytes], path: str, refused: list[str], depth: int = 0
) -> Iterator[str]:
    """A requirements file's lines, with the files it includes."""
    for line in plain_lines(files.get(path, b"")) if depth < _MAX_INCLUDES else []:
        include = re.fullmatch(r"(?:-r|--requirement)[\s=]*(\S+)", line)
        if include and _beside(path, include[1]) in files:
            yield from lines(files, _beside(path, include[1]), refused, depth + 1)
        elif line.startswith("-") and not _OWN.fullmatch(line.strip()):
            refused.append(f"{path}: {line[:200]}")
        else:
            yield line


def plain_lines(content: bytes) -> Iterator[str]:
    """Lines without comments, continuations and hashes."""
    for raw in content.decode(errors="replace").replace("\\\n", " ").splitlines():
        line = re.sub(r"\s+--hash[=\s]\S+", "", re.sub(r"(^|\s)#.*", "", raw).strip())
        if line:
            yield line


def includes(path: str, content: bytes) -> Iterator[str]:
    """The files that a requirements file, or tox.ini, reads beside itself."""
    if path.endswith((".txt", ".in", "tox.ini")):
        for line in plain_lines(content):
            if found := _INCLUDE.fullmatch(line.partition("deps =")[2].strip() or line):
                yield _beside(path, found[1].removeprefix("{toxinidir}/"))


def _beside(path: str, other: str) -> str:
    parts: list[str] = []
    for part in (PurePosixPath(path).parent / other).parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)


def tox(files: Mapping[str, bytes]) -> list[str]:
    """`deps` of [testenv], as far as they are plain: no factors, no substitutions."""
    taken: list[str] = []
    stated = ini(files.get("tox.ini")).get("testenv", "deps", fallback="").splitlines()
    for line in map(str.strip, stated):
        include = re.fullmatch(r"-r\s*(?:\{toxinidir\}/)?(\S+)", line)
        if include:
            taken += lines(files, _beside("tox.ini", include[1]), [], 1)
        elif _is_plain(line):
            taken.append(line)
    return taken


def _is_plain(line: str) -> bool:
    odd = line.startswith(("-", "#", ".")) or "{" in line
    return bool(line) and not odd and not re.match(r"[\w!,-]+:\s", line)


def poetry(dependencies: object) -> list[str]:
    """Poetry's tables as requirements."""
    found = []
    for name, asked in table(dependencies).items():
        version = asked.get("version") if isinstance(asked, dict) else asked
        optional = isinstance(asked, dict) and asked.get("optional")
        if name.lower() != "python" and isinstance(version, str) and not optional:
            extras = ",".join(strings(asked.get("extras"))) if isinstance(asked, dict) else ""
            found.append(f"{name}{f'[{extras}]' if extras else ''}{_poetry_version(version)}")
    return found


def _poetry_version(version: str) -> str:
    """A caret or tilde range as a lower bound.

    The upper one is a guess about the future, and the resolver needs none.
    """
    first = version.split("||", maxsplit=1)[0].strip()
    if first in {"", "*"}:
        return ""
    if first[0] in "^~" and not first.startswith("~="):
        return f">={first[1:].strip()}"
    return first if first[0] in "<>=!~" else f"=={first}"


# What a file states, section by section, in a form that compares.


def stated_lines(content: bytes) -> dict[str, object]:
    """A requirements file; order and comments are no matter."""
    found = tuple(sorted(plain_lines(content)))
    return {"": found} if found else {}


def _stated_toml(content: bytes) -> dict[str, object]:
    document = toml(content)
    if not document and content.strip():
        return {"": content}  # unreadable: any change of it counts
    found = {".".join(keys): _at(document, keys) for keys in _TOML_TABLES}
    return {
        section: json.dumps(value, sort_keys=True, default=str)
        for section, value in found.items()
        if value
    }


def _at(document: object, keys: tuple[str, ...]) -> object:
    node = document
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _stated_ini(content: bytes) -> dict[str, object]:
    parser = ini(content)
    if not parser.sections() and content.strip():
        return {"": content}
    found: dict[str, object] = {}
    for section in parser.sections():
        if section == "options.extras_require" or section.startswith("testenv"):
            options = [name for name, _ in parser.items(section)]
        else:
            options = list(_SETUP_ARGUMENTS) if section == "options" else []
        for option in options:
            text = parser.get(section, option, fallback="")
            kept = section != "testenv" and not section.startswith("testenv:")
            if text.strip() and (kept or option in {"deps", "extras", "dependency_groups"}):
                found[f"{section}.{option}"] = tuple(sorted(plain_lines(text.encode())))
    return found


def _stated_setup_py(content: bytes) -> dict[str, object]:
    """The arguments as they are written, with the statements that make the names in them."""
    try:
        tree = _parsed(content)
        found = {}
        for argument in (*_SETUP_ARGUMENTS, None):
            values = _values(tree, argument)
            if values:
                found[argument or "**"] = tuple(map(ast.unparse, values)) + _made_by(tree, values)
    except (SyntaxError, ValueError, RecursionError, TypeError, MemoryError):
        return {"": content}
    return dict(found)


def _made_by(tree: ast.Module, values: list[ast.expr]) -> tuple[str, ...]:
    """The top-level statements that say something of the names that `values` use, and of theirs."""
    used = {name for value in values for name in _names(value)}
    calls_setup = [one for one in tree.body if any(value in ast.walk(one) for value in values)]
    rest = [statement for statement in tree.body if statement not in calls_setup]
    kept: list[ast.stmt] = []
    while found := [one for one in rest if one not in kept and used & _told_of(one)]:
        kept += found
        used |= {name for statement in found for name in _names(statement)}
    return tuple(ast.unparse(statement) for statement in rest if statement in kept)


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _told_of(statement: ast.stmt) -> set[str]:
    """Names that a statement sets, or whose object it may change."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    return _names(statement)


def _stated_pkg_info(content: bytes) -> dict[str, object]:
    found = BytesParser().parsebytes(content, headersonly=True).get_all("Requires-Dist")
    return {"Requires-Dist": tuple(sorted(map(str, found)))} if found else {}


STATED: dict[str, Callable[[bytes], dict[str, object]]] = {
    "pyproject.toml": _stated_toml,
    "setup.cfg": _stated_ini,
    "tox.ini": _stated_ini,
    "setup.py": _stated_setup_py,
    "PKG-INFO": _stated_pkg_info,
}
"""File name -> what reads it; any other file is a list of lines."""

"""Files that a project's settings keep from its own tools: linters, scanners, coverage.

The judge honours none of them. Who comes after it does, so that more of them are a suppression.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from configparser import ConfigParser, Error
from fnmatch import fnmatchcase
from typing import Any

from quality_gates.model import Change

_TABLES = (
    (("tool", "ruff"), ("exclude", "extend-exclude")),
    (("tool", "ruff", "lint"), ("exclude",)),
    (("tool", "coverage", "run"), ("omit",)),
    (("tool", "coverage", "report"), ("omit",)),
    (("tool", "bandit"), ("exclude_dirs",)),
)
_SECTIONS = {
    "flake8": ("exclude", "extend-exclude", "extend_exclude"),
    "coverage:run": ("omit",),
    "coverage:report": ("omit",),
    "run": ("omit",),
    "report": ("omit",),
    "bandit": ("exclude",),
}
_OWN = {".coveragerc": {"run", "report"}, ".bandit": {"bandit"}}
"""Files in which sections have short names."""
_MOST = 100


def newly_excluded(change: Change) -> tuple[str, ...]:
    """Patterns that only head's settings have, and that fit a file or a folder of its product."""
    new = sorted(_patterns(change.head_contents) - _patterns(change.base_contents))
    names = {name for path in change.head_python.product for name in _names(path)}
    fitting = {one for one in new[:_MOST] if any(fnmatchcase(name, one) for name in names)}
    # More than anybody reads: none of them is taken for harmless.
    return (*sorted(fitting), *new[_MOST:])


def _patterns(contents: Mapping[str, bytes]) -> frozenset[str]:
    return frozenset(
        text.strip().removeprefix("./").removeprefix("*/").rstrip("/")
        for text in (*_of_tables(contents), *_of_sections(contents))
        if text.strip()
    )


def _names(path: str) -> Iterator[str]:
    """By which a pattern may mean a file: it, the folders above it, and the last part of each."""
    words = path.split("/")
    for end in range(1, len(words) + 1):
        yield "/".join(words[:end])
        yield words[end - 1]


def _of_tables(contents: Mapping[str, bytes]) -> Iterator[str]:
    for name in ("pyproject.toml", "ruff.toml", ".ruff.toml"):
        try:
            document = tomllib.loads(contents.get(name, b"").decode())
        except (ValueError, RecursionError):
            continue
        whole = document if name == "pyproject.toml" else {"tool": {"ruff": document}}
        for path, keys in _TABLES:
            table = _table(whole, path)
            for key in keys:
                value = table.get(key)
                yield from (
                    (one for one in value if isinstance(one, str))
                    if isinstance(value, list)
                    else ()
                )


def _table(document: object, path: Iterable[str]) -> dict[str, Any]:
    for word in path:
        document = document.get(word) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _of_sections(contents: Mapping[str, bytes]) -> Iterator[str]:
    for name in ("setup.cfg", "tox.ini", ".flake8", ".coveragerc", ".bandit"):
        parser = ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(contents.get(name, b"").decode())
        except (Error, ValueError):
            continue
        for section in parser.sections():
            known = ":" in section or section == "flake8" or section in _OWN.get(name, ())
            for key in _SECTIONS.get(section, ()) if known else ():
                yield from re.split(r"[,\n]", parser.get(section, key, fallback=""))

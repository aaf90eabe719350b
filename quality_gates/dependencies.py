"""Whether a change asks for other dependencies than base does."""

import configparser
import json
import re
import tomllib
from pathlib import PurePosixPath

from quality_gates.model import Change

LOCKS = frozenset({"poetry.lock", "uv.lock", "pdm.lock", "Pipfile", "Pipfile.lock", "conda-lock.yml", "environment.yml", "environment.yaml",
                   "package.json", "package-lock.json", "yarn.lock", "pnpm-lock.yaml"})  # fmt: skip
_REQUIREMENTS = re.compile(r"(requirements|constraints)[^/]*\.(txt|in)|pylock(\.[^/]+)?\.toml")
_REQUIREMENT_DIRS = frozenset({"requirements", "constraints"})
_SETUP_PY = re.compile(
    rb"(install_requires|extras_require|setup_requires|tests_require)[\s\S]{0,4000}?[\])}]"
)
_SETUP_CFG = ("install_requires", "setup_requires", "tests_require")
_TOML_KEYS = (("build-system", "requires"), ("project", "dependencies"), ("project", "optional-dependencies"), ("dependency-groups",),
              ("tool", "poetry", "dependencies"), ("tool", "poetry", "dev-dependencies"), ("tool", "poetry", "group"),
              ("tool", "pdm", "dev-dependencies"), ("tool", "uv", "sources"), ("tool", "uv", "dev-dependencies"))  # fmt: skip


def changed_dependencies(change: Change) -> tuple[str, ...]:
    """The changed files in which a dependency was added, removed or altered, sorted."""
    return tuple(
        sorted(
            file.path
            for file in change.files
            if _declared(file.path, change.base_contents.get(file.path))
            != _declared(file.path, change.head_contents.get(file.path))
        )
    )


def _declared(path: str, content: bytes | None) -> object:
    """What a file declares, in a form that compares; None: nothing, or not a file that declares."""
    pure = PurePosixPath(path)
    if content is None:
        return None
    if pure.name in LOCKS:
        return content
    if _REQUIREMENTS.fullmatch(pure.name) or (
        pure.suffix in {".txt", ".in"} and pure.parent.name in _REQUIREMENT_DIRS
    ):
        return _lines(content)
    readers = {"pyproject.toml": _toml, "setup.cfg": _cfg, "setup.py": _setup}
    return readers[pure.name](content) if pure.name in readers else None


def _setup(content: bytes) -> object:
    return tuple(b" ".join(found.group().split()) for found in _SETUP_PY.finditer(content)) or None


def _lines(content: bytes) -> object:
    rows = (line.split(b" #")[0].strip() for line in content.splitlines())
    return tuple(sorted(row for row in rows if row and not row.startswith(b"#"))) or None


def _toml(content: bytes) -> object:
    try:
        document = tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        return content  # unreadable: any change of it counts
    found = {".".join(keys): _at(document, keys) for keys in _TOML_KEYS}
    kept = {key: value for key, value in found.items() if value}
    return json.dumps(kept, sort_keys=True, default=str) if kept else None


def _at(document: object, keys: tuple[str, ...]) -> object:
    node = document
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _cfg(content: bytes) -> object:
    parser = configparser.RawConfigParser(strict=False, default_section="\0")
    try:
        parser.read_string(content.decode())
    except (configparser.Error, ValueError):
        return content
    found = {key: parser.get("options", key, fallback="").split() for key in _SETUP_CFG}
    if parser.has_section("options.extras_require"):
        found |= {
            f"extra {key}": value.split() for key, value in parser.items("options.extras_require")
        }
    kept = {key: value for key, value in found.items() if value}
    return json.dumps(kept, sort_keys=True) if kept else None

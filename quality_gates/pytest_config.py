"""The project's own pytest configuration, from base and cut down to what cannot hide a test.

Only the base's version is read, so a patch that edits it has no effect on the judge. Keys and
options that are not in the lists below are dropped and named.
"""

import configparser
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quality_gates.where import WORKSPACE

KEYS = frozenset(
    {"markers", "filterwarnings", "python_files", "python_classes", "python_functions",
     "norecursedirs", "xfail_strict", "strict_xfail", "usefixtures", "doctest_optionflags",
     "doctest_encoding", "asyncio_mode", "asyncio_default_fixture_loop_scope",
     "asyncio_default_test_loop_scope", "asyncio_debug", "anyio_mode", "trio_mode",
     "timeout_method", "timeout_func_only",
     "log_level", "log_format", "log_date_format", "consider_namespace_packages",
     "empty_parameter_set_mark", "collect_imported_tests",
     "env", "DJANGO_SETTINGS_MODULE", "django_find_project", "qt_api",
     "mock_use_standalone_module",
     "disable_test_id_escaping_and_forfeit_all_rights_to_community_support"}
)  # fmt: skip
"""Keys of the ini file that are kept as the base has them.

`testpaths`, `pythonpath` and `addopts` are handled apart.
"""

_VALUED = (
    "--import-mode",
    "--doctest-glob",
    "--asyncio-mode",
    "-m",
    "--ignore",
    "--ignore-glob",
    "--deselect",
    "-k",
    "-W",
)
_OF_PLUGINS = {"--asyncio-mode": "asyncio"}
"""Options that pytest knows only with a plugin: without that, it would not start."""
_FLAGS = ("--strict-markers", "--doctest-modules", "--doctest-continue-on-failure", "--pyargs")
_BUILT_IN_PLUGINS = frozenset({"pytester", "doctest", "no:doctest", "no:warnings", "no:legacypath",
                               "no:unraisableexception",
                               "no:threadexception", "no:nose"})  # fmt: skip
_PATH_OPTIONS = ("--ignore", "--ignore-glob")


@dataclass(frozen=True, slots=True)
class PytestConfiguration:
    """What of the base's configuration the judge uses."""

    source: str | None
    """The file it came from."""
    values: Mapping[str, str]
    options: tuple[str, ...]
    testpaths: tuple[str, ...]
    pythonpath: tuple[str, ...]
    dropped: tuple[str, ...]
    """Keys and options that the judge does not honour."""

    def ini(self) -> str:
        """The trusted ini file's text."""
        lines = ["[pytest]"]
        for key, value in sorted(self.values.items()):
            rows = [row.strip() for row in value.splitlines() if row.strip()]
            lines.append(f"{key} =" if len(rows) != 1 else f"{key} = {rows[0]}")
            lines += [f"    {row}" for row in rows] if len(rows) > 1 else []
        return "\n".join(lines) + "\n"


def read(contents: Mapping[str, bytes], plugins: tuple[str, ...] = ()) -> PytestConfiguration:
    """The first file that pytest itself would take, in pytest's order.

    A file that cannot be read is as none.
    """
    for name, section in _sources(contents):
        return _configuration(name, section, plugins)
    return PytestConfiguration(None, {}, (), (), (), ())


def _sources(contents: Mapping[str, bytes]) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name in ("pytest.toml", ".pytest.toml"):
        found += _toml(name, contents.get(name), ("pytest",))
    for name in ("pytest.ini", ".pytest.ini"):
        found += _ini(name, contents.get(name), "pytest", even_if_empty=True)
    found += _toml(
        "pyproject.toml", contents.get("pyproject.toml"), ("tool", "pytest", "ini_options")
    )
    found += _toml("pyproject.toml", contents.get("pyproject.toml"), ("tool", "pytest"))
    found += _ini("tox.ini", contents.get("tox.ini"), "pytest")
    found += _ini("setup.cfg", contents.get("setup.cfg"), "tool:pytest")
    return found


def _toml(
    name: str, content: bytes | None, keys: tuple[str, ...]
) -> list[tuple[str, Mapping[str, Any]]]:
    if content is None:
        return []
    try:
        node: Any = tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        return []
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return [(name, node)] if isinstance(node, dict) and node else []


def _ini(
    name: str, content: bytes | None, section: str, *, even_if_empty: bool = False
) -> list[tuple[str, Mapping[str, Any]]]:
    if content is None:
        return []
    parser = configparser.RawConfigParser(
        strict=False, comment_prefixes=("#", ";"), delimiters=("=", ":"), default_section="\0"
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # configparser's documented way to keep case
    try:
        parser.read_string(content.decode())
    except (configparser.Error, ValueError):
        return []
    if parser.has_section(section):
        return [(name, dict(parser.items(section)))]
    return [(name, {})] if even_if_empty else []


def _configuration(
    name: str, section: Mapping[str, Any], plugins: tuple[str, ...]
) -> PytestConfiguration:
    values = {key: _text(value) for key, value in section.items() if key in KEYS}
    options, dropped_options = _options(_words(section.get("addopts", "")), plugins)
    dropped = [key for key in section if key not in KEYS | {"addopts", "testpaths", "pythonpath"}]
    return PytestConfiguration(
        source=name,
        values=values,
        options=tuple(options),
        testpaths=_relative(section.get("testpaths", "")),
        pythonpath=_relative(section.get("pythonpath", "")),
        dropped=tuple(sorted(map(str, dropped))) + tuple(dropped_options),
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "\n".join(_text(item) for item in value)
    return str(value)


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    try:
        return shlex.split(str(value), comments=True)
    except ValueError:
        return []


def _relative(value: object) -> tuple[str, ...]:
    """Paths below the root; one that leaves it is dropped."""
    cleaned = [re.sub(r"^(\./)+", "", word).rstrip("/") or "." for word in _words(value)]
    return tuple(
        word for word in cleaned if not word.startswith("/") and ".." not in word.split("/")
    )


def _options(words: list[str], plugins: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The options that are kept, each with its value as one word, and those that are dropped."""
    kept: list[str] = []
    dropped: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            kept.append(word)
        elif word == "-p" and rest:
            _plugin(rest.pop(0), plugins, kept, dropped)
        elif word.startswith("-p") and not word.startswith("--"):
            _plugin(word[2:], plugins, kept, dropped)
        elif name in _VALUED and (equals or rest):
            value = value if equals else rest.pop(0)
            if _OF_PLUGINS.get(name, "") not in {"", *plugins}:
                dropped.append(f"{name}={value}")
            elif word.startswith("--") or equals:
                kept.append(_valued(name, value))
            else:
                kept += [name, value]
        else:
            dropped.append(word)
    return kept, dropped


def _valued(name: str, value: str) -> str:
    if name in _PATH_OPTIONS and not value.startswith("/"):
        value = f"{WORKSPACE}/{value.removeprefix('./')}"
    return f"{name}={value}"


def _plugin(name: str, plugins: tuple[str, ...], kept: list[str], dropped: list[str]) -> None:
    known = name in _BUILT_IN_PLUGINS or name.removeprefix("no:") in plugins
    (kept if known else dropped).extend(["-p", name] if known else [f"-p {name}"])

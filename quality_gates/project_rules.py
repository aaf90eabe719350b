"""The lint rules that a project has chosen: its own settings at base, read as data.

ruff's settings where there are any, else flake8's. What comes out is codes that our ruff knows, so
that no selector of another version makes it refuse the whole configuration.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

SETTINGS = ("ruff.toml", ".ruff.toml", ".flake8")
"""Files that are read beside `paths.CONFIGURATION`, in which the others are."""
ALWAYS = ("E9", "F")
"""Where a project has chosen nothing, and in any case what is no Python (`E9`)."""
_RUFF_DEFAULT = ("E4", "E7", "E9", "F")
_FLAKE8_DEFAULT = ("E", "F", "W", "C90")
_NOT_HELD = ("D", "I", "DOC", "CPY", "ERA", "FIX", "TD", "ANN", "C90", "INP", "PT", "TC", "TID",
             "PLR09", "PLR17", "E501", "S", "UP", "N")  # fmt: skip
"""Formatting and the looks of comments; rules that mean nothing without options which are not
taken over; security, which has gates of its own; what depends on a version of ruff or of Python."""
_LETTERS = re.compile(r"([A-Z]+)([0-9]*)")
_PATTERN = re.compile(r"(?!.*\*\*\*)(?:[\w./*?@+ -]|\{[\w./*?, -]+\}){1,200}")
"""A glob that ruff takes: anything else in it is left out."""
_MOST = 1000


@dataclass(frozen=True, slots=True)
class ProjectRules:
    """What ruff is asked for in a project's name. Codes are whole, sorted."""

    codes: tuple[str, ...]
    in_files: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Glob of files -> codes that do not hold there."""
    source: str = ""
    """The file that says so; empty: none does."""


def project_rules(base: Mapping[str, bytes]) -> ProjectRules:
    """The rules of base's own settings. `base`: its configuration files, name -> contents."""
    for name, settings in _ruff_settings(base):
        lint = {**settings, **_table(settings.get("lint"))}
        chosen = [*_words(lint.get("select") or _RUFF_DEFAULT), *_words(lint.get("extend-select"))]
        return _rules(
            chosen,
            [*_words(lint.get("ignore")), *_words(lint.get("extend-ignore"))],
            {**_table(lint.get("per-file-ignores")), **_table(lint.get("extend-per-file-ignores"))},
            name,
        )
    for name, section in _flake8_settings(base):
        chosen = [
            *_split(section.get("select", ",".join(_FLAKE8_DEFAULT))),
            *_split(section.get("extend-select", "")),
        ]
        ignored = [*_split(section.get("ignore", "")), *_split(section.get("extend-ignore", ""))]
        return _rules(chosen, ignored, _flake8_files(section.get("per-file-ignores", "")), name)
    return ProjectRules(_expanded(ALWAYS))


@cache
def known() -> Mapping[str, str]:
    """The stable rules of the image's ruff: code -> category."""
    return {code: category for code, (category, _) in _table_of_rules().items()}


@cache
def named() -> Mapping[str, str]:
    """The same rules by their names, as newer versions of ruff take them: name -> code."""
    return {name: code for code, (_, name) in _table_of_rules().items()}


@cache
def _table_of_rules() -> dict[str, tuple[str, str]]:
    content = resources.files("quality_gates").joinpath("ruff_rules.json").read_bytes()
    rules: dict[str, tuple[str, str]] = json.loads(content)
    return rules


def _rules(
    chosen: Iterable[str], ignored: Iterable[str], in_files: Mapping[str, object], source: str
) -> ProjectRules:
    held, unreadable = _held(chosen, ignored), set(_expanded(["E9"]))
    files = {
        pattern: codes
        for pattern, value in list(in_files.items())[:_MOST]
        if _PATTERN.fullmatch(pattern)
        and (codes := tuple(code for code in _expanded(_words(value)) if code in held - unreadable))
    }
    return ProjectRules(tuple(sorted(held)), MappingProxyType(files), source)


def _held(chosen: Iterable[str], ignored: Iterable[str]) -> set[str]:
    """The longest selector that fits a code decides, as in ruff and flake8."""
    wanted, left_out = set(chosen), set(ignored)
    held = {code for code in known() if _longest(code, wanted) > _longest(code, left_out)}
    style = {code for code in held if known()[code] == "formatting" or _fits_any(code, _NOT_HELD)}
    return (held - style) | set(_expanded(["E9"]))


def _longest(code: str, selectors: Iterable[str]) -> int:
    return max((_weight(one) for one in selectors if _fits(code, one)), default=-1)


def _weight(selector: str) -> int:
    return 0 if selector == "ALL" else len(selector)


def _fits_any(code: str, selectors: Iterable[str]) -> bool:
    return any(_fits(code, one) for one in selectors)


def _fits(code: str, selector: str) -> bool:
    """`E` is no selector of `ERA001`; `PL` is one of `PLR0133`."""
    if selector == "ALL":
        return True
    own, asked = _LETTERS.fullmatch(code), _LETTERS.fullmatch(selector)
    if own is None or asked is None or not code.startswith(selector):
        return False
    return own[1] == asked[1] or selector == "PL"


def _expanded(selectors: Iterable[str]) -> tuple[str, ...]:
    wanted = set(selectors)
    return tuple(sorted(code for code in known() if _fits_any(code, wanted)))


def _ruff_settings(base: Mapping[str, bytes]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """As ruff looks for them: the first file that is there."""
    for name in (".ruff.toml", "ruff.toml", "pyproject.toml"):
        if name not in base:
            continue
        try:
            document = tomllib.loads(base[name].decode())
        except (ValueError, RecursionError):
            continue
        settings = (
            document
            if name != "pyproject.toml"
            else _table(_table(document.get("tool")).get("ruff"))
        )
        if settings:
            yield name, settings


def _flake8_settings(base: Mapping[str, bytes]) -> Iterable[tuple[str, Mapping[str, str]]]:
    """As flake8 looks for them."""
    for name in ("setup.cfg", "tox.ini", ".flake8"):
        parser = ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(base.get(name, b"").decode())
        except (Error, ValueError):
            continue
        if parser.has_section("flake8"):
            yield name, {key.replace("_", "-"): text for key, text in parser.items("flake8")}


def _flake8_files(text: str) -> dict[str, object]:
    """`pattern,pattern: code,code pattern: code` -> pattern -> codes."""
    found: dict[str, list[str]] = {}
    patterns: list[str] = []
    told = False
    for word in re.findall(r"[^\s,:]+|:", text)[: 20 * _MOST]:
        if word == ":":
            told = True
        elif told and _LETTERS.fullmatch(word):
            for pattern in patterns:
                found.setdefault(pattern, []).append(word)
        else:
            patterns, told = ([word], False) if told else ([*patterns, word], False)
    return dict(found)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return ()
    words = (word.strip() for word in value[:_MOST] if isinstance(word, str))
    return tuple(named().get(word, word) for word in words)


def _split(text: str) -> list[str]:
    """Codes by commas or blanks; what follows a `#` is a comment."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [word for line in lines for word in re.split(r"[\s,]+", line) if word][:_MOST]

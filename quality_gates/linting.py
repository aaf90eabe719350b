"""The names that a packet's `linting_rules` may have for Python, and what each means to ruff."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping

from quality_gates.project_rules import ALWAYS, project_rules

PROJECT = "project"
"""What a change is held to where no packet names rules: the project's own, as base keeps to them.

Where it has chosen none, errors. Formatting is never refused.
"""
RULES: dict[str, tuple[str, ...]] = {
    PROJECT: ALWAYS,
    "ruff-defaults": (),
    "pyflakes": ("E9", "F"),
    "flake8-defaults": ("E", "F", "W", "C90"),
    "pycodestyle": ("E", "W"),
    "ruff-strict": (
        "A",
        "B",
        "C4",
        "C90",
        "E",
        "F",
        "I",
        "N",
        "PIE",
        "RET",
        "RUF",
        "SIM",
        "UP",
        "W",
    ),
}
"""Nothing selected: what ruff checks when nobody configures it, in the version of the image."""
_OLDEST, _NEWEST = 7, 14
"""Minor versions of Python 3 that ruff knows."""
_OTHER_LANGUAGES = {"standard-js": "JavaScript", "eslint-recommended": "JavaScript"}


def linting_rules(name: str) -> tuple[str, ...]:
    """The rule prefixes that `name` selects.

    Raises ValueError for a name that is unknown or of another language.
    """
    if name in RULES:
        return RULES[name]
    known = ", ".join(sorted(RULES))
    if name in _OTHER_LANGUAGES:
        raise ValueError(
            f"linting_rules {name!r} is for {_OTHER_LANGUAGES[name]}; "
            f"this is a Python repository: use one of {known}"
        )
    raise ValueError(f"linting_rules {name!r} is not known: use one of {known}")


def ruff_configuration(name: str, base: Mapping[str, bytes]) -> str:
    """The whole of ruff's configuration.

    Of the repository only base is read: its `requires-python`, as ruff itself does, and for
    `PROJECT` the rules that it has chosen. `base`: its configuration files, name -> contents.

    Without a `requires-python` it is ruff's default: a rule must not ask for syntax that the
    project's users cannot run.
    """
    rules, in_files = _lists(linting_rules(name)), ""
    if name == PROJECT:
        chosen = project_rules(base)
        rules = _lists(chosen.codes)
        rows = "".join(
            f"{json.dumps(files)} = {_lists(of)}\n" for files, of in chosen.in_files.items()
        )
        in_files = f"[lint.per-file-ignores]\n{rows}" if rows else ""
    select = f"select = {rules}\n" if rules != _lists(()) else ""
    target = _target(base.get("pyproject.toml"))
    return f"line-length = 88\n{target}extend-exclude = []\n[lint]\n{select}{in_files}"


def _lists(words: Iterable[str]) -> str:
    return f"[{', '.join(map(json.dumps, words))}]"


def _target(pyproject: bytes | None) -> str:
    try:
        project = tomllib.loads((pyproject or b"").decode()).get("project", {})
        lowest = re.search(r"(?:>=|==|~=)\s*3\.(\d+)", project["requires-python"])
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return ""
    minor = int(lowest[1]) if lowest else 0
    return f'target-version = "py3{min(minor, _NEWEST)}"\n' if minor >= _OLDEST else ""

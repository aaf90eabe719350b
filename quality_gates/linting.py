"""The names that a packet's `linting_rules` may have for Python, and what each means to ruff."""

import re
import tomllib

PROJECT = "project"
"""What a change is held to where no packet names rules: errors, as far as base keeps to them.

Style is a project's own affair, so nothing of it is refused here.
"""
RULES: dict[str, tuple[str, ...]] = {
    PROJECT: ("E9", "F"),
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


def ruff_configuration(name: str, pyproject: bytes | None) -> str:
    """The whole of ruff's configuration.

    Of the repository only base's `requires-python` is read, as ruff itself does.

    Without one it is ruff's default: a rule must not ask for syntax that the project's users cannot
    run.
    """
    selected = ", ".join(f'"{prefix}"' for prefix in linting_rules(name))
    select = f"select = [{selected}]\n" if selected else ""
    return f"line-length = 88\n{_target(pyproject)}extend-exclude = []\n[lint]\n{select}"


def _target(pyproject: bytes | None) -> str:
    try:
        project = tomllib.loads((pyproject or b"").decode()).get("project", {})
        lowest = re.search(r"(?:>=|==|~=)\s*3\.(\d+)", project["requires-python"])
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return ""
    minor = int(lowest[1]) if lowest else 0
    return f'target-version = "py3{min(minor, _NEWEST)}"\n' if minor >= _OLDEST else ""

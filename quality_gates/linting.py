"""The names that a packet's `linting_rules` may have for a Python repository, and what each means to ruff."""

RULES: dict[str, tuple[str, ...]] = {
    "ruff-defaults": ("E4", "E7", "E9", "F"),
    "pyflakes": ("E9", "F"),
    "flake8-defaults": ("E", "F", "W", "C90"),
    "pycodestyle": ("E", "W"),
    "ruff-strict": ("A", "B", "C4", "C90", "E", "F", "I", "N", "PIE", "RET", "RUF", "SIM", "UP", "W"),
}
_OTHER_LANGUAGES = {"standard-js": "JavaScript", "eslint-recommended": "JavaScript"}


def linting_rules(name: str) -> tuple[str, ...]:
    """The rule prefixes that `name` selects. Raises ValueError for a name that is unknown or of another language."""
    if name in RULES:
        return RULES[name]
    known = ", ".join(sorted(RULES))
    if name in _OTHER_LANGUAGES:
        raise ValueError(
            f"linting_rules {name!r} is for {_OTHER_LANGUAGES[name]}; this is a Python repository: use one of {known}"
        )
    raise ValueError(f"linting_rules {name!r} is not known: use one of {known}")


def ruff_configuration(name: str) -> str:
    """The whole of ruff's configuration; the repository's own is never read."""
    selected = ", ".join(f'"{prefix}"' for prefix in linting_rules(name))
    return f'line-length = 88\ntarget-version = "py313"\nextend-exclude = []\n[lint]\nselect = [{selected}]\n'

"""What a scanner's output comes to, whichever scanner it was."""

from dataclasses import dataclass

from quality_gates.model import Severity


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing that a tool said of one place; `path` as the tool wrote it."""

    rule: str
    severity: Severity
    path: str
    line: int
    message: str
    cwe: str | None = None
    secret: str | None = None
    """detect-secrets: the hash of what it found."""
    allowed: bool = False
    """A comment in the file asks to look away."""
    mark_line: int | None = None
    """ruff: the line whose comment would ask so."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A whole output. `scanned` None: the tool does not say."""

    hits: tuple[Hit, ...]
    scanned: frozenset[str] | None = None
    errors: tuple[tuple[str, str], ...] = ()
    """Path (empty: not of one file) and what the tool said."""
    version: str | None = None

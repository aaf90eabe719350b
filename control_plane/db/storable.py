"""What PostgreSQL cannot hold is replaced before it gets there. Pure.

Causes, event payloads and audit facts may quote hostile output; a NUL or half a surrogate pair in
it must not make the transaction fail that records how a run ended.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable_text(text: str) -> str:
    """The text, with each character that PostgreSQL refuses replaced."""
    return "".join(_REPLACEMENT if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def storable(value: object) -> object:
    """JSON values that PostgreSQL takes; what JSON does not have (an id, a time) becomes text."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return storable_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # Above 2^53 (and for NaN) numbers have no one spelling; jsonb and the canonical form
        # disagree about them.
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, Mapping):
        return {storable_text(str(key)): storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [storable(inner) for inner in value]
    return storable_text(str(value))


def storable_facts(facts: Mapping[str, object]) -> dict[str, Any]:
    """`storable` for a whole document."""
    return {storable_text(key): storable(value) for key, value in facts.items()}

"""Hostile files become plain values or a `ParseError`; nothing else comes out of a parser."""

import json
import math
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_BYTES = 64 * 2**20
MAX_ITEMS = 500_000
MAX_TEXT = 4000


class ParseError(ValueError):
    """The output is missing, too large, or not of the shape that the tool writes."""


def guarded(parse: Callable[P, T]) -> Callable[P, T]:
    """Whatever a hostile document trips over is a ParseError, recursion and memory included."""

    @wraps(parse)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return parse(*args, **kwargs)
        except ParseError:
            raise
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RecursionError,
            OverflowError,
            MemoryError,
            OSError,
        ) as error:
            raise ParseError(f"{type(error).__name__}: {str(error)[:200]}") from error

    return wrapped


def read(path: Path | None, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of one output. Raises ParseError when there is none, or too much of it."""
    if path is None:
        raise ParseError("the tool left no output")
    try:
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise ParseError(f"the output cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise ParseError(f"the output is larger than {max_bytes} bytes")
    return content


@guarded
def json_document(content: bytes) -> object:
    """Strict JSON: UTF-8, no NaN, no duplicate keys, numbers of a sane length."""
    return json.loads(
        content.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique
    )


def mapping(value: object) -> Mapping[str, Any]:
    """`value`, an object."""
    if not isinstance(value, dict):
        raise ParseError(f"expected an object, found {type(value).__name__}")
    return value


def sequence(value: object) -> list[Any]:
    """`value`, an array of a sane length."""
    if not isinstance(value, list):
        raise ParseError(f"expected an array, found {type(value).__name__}")
    if len(value) > MAX_ITEMS:
        raise ParseError(f"an array of {len(value)} items; {MAX_ITEMS} are read at most")
    return value


def text(value: object, limit: int = MAX_TEXT) -> str:
    """`value`, a string, cut to `limit` characters."""
    if not isinstance(value, str):
        raise ParseError(f"expected text, found {type(value).__name__}")
    return value[:limit]


def path_text(value: object) -> str:
    """`value`, a path: never cut, refused when it is too long to be one."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT + 96 or "\0" in value:
        raise ParseError("expected a path")
    return value


def integer(value: object, at_least: int = 0) -> int:
    """`value`, a whole number in a sane range."""
    if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value < 2**53:
        raise ParseError(f"expected a whole number of at least {at_least}")
    return value


def number(value: object) -> float:
    """`value`, a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ParseError("expected a number")
    return float(value)


def _no_constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ParseError("a key occurs twice")
    return document

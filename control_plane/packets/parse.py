"""Hostile bytes become a ContextPacket, or an error that names each path. Pure.

Stricter than the standard library's `json`: that keeps the last of two equal keys, reads NaN and
1e400, and falls over deep nesting and very long numbers.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn

from pydantic import ValidationError

from control_plane.packets.errors import PacketInvalid
from control_plane.packets.schema import ContextPacket

MAX_BYTES = 256 * 2**10
MAX_DEPTH = 16
"""A packet is five deep; anything much deeper is an attack on the parser."""
LintingRules = Collection[str] | Callable[[str], object] | None
"""The names that the gates know, or a function that raises ValueError for a name they do not.

None: do not look.
"""
_MAX_DIGITS = 40
_BOM = b"\xef\xbb\xbf"


def parse_packet(data: bytes, *, linting_rules: LintingRules = None) -> ContextPacket:
    """The packet that `data` is.

    Raises:
        PacketInvalid: with a path and a message for each thing that is wrong.
    """
    return validate_packet(load_document(data), linting_rules=linting_rules)


def validate_packet(document: object, *, linting_rules: LintingRules = None) -> ContextPacket:
    """The packet that these JSON values are. Raises as `parse_packet`."""
    try:
        text = json.dumps(document, allow_nan=False)
        # From text, as only so strictness knows that JSON has neither enums nor tuples.
        return ContextPacket.model_validate_json(text, context={"linting_rules": linting_rules})
    except ValidationError as error:
        raise PacketInvalid(
            [
                (_path(item["loc"]), item["msg"].removeprefix("Value error, "))
                for item in error.errors(include_url=False)
            ]
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise PacketInvalid([("", f"not JSON values: {error}")]) from None


def load_document(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> object:
    """The JSON values in `data`, with every ambiguity refused. Raises as `parse_packet`."""
    text = _text(data, max_bytes)
    _check_depth(text, max_depth)
    try:
        pairs = json.loads(
            text,
            object_pairs_hook=_Pairs,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise PacketInvalid([("", f"not JSON: {error}")]) from None
    except (ValueError, RecursionError) as error:
        raise PacketInvalid([("", str(error))]) from None
    if errors := list(_ambiguities(pairs, ())):
        raise PacketInvalid(errors)
    return _plain(pairs)


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written: pairs, in order, equal keys and all."""


def _text(data: bytes, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise PacketInvalid([("", f"{len(data)} bytes; at most {max_bytes} are read")])
    if data.startswith(_BOM):
        raise PacketInvalid([("", "starts with a byte order mark; send plain UTF-8")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PacketInvalid([("", f"not UTF-8 at byte {error.start}")]) from None


def _check_depth(text: str, most: int) -> None:
    depth, in_string, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif in_string:
            in_string, escaped = character != '"', character == "\\"
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > most:
                raise PacketInvalid([("", f"nested deeper than {most}")])
        elif character in "]}":
            depth -= 1


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:_MAX_DIGITS]} is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _ambiguities(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value:
            here = (*path, key)
            if key in seen:
                yield _path(here), "given twice"
            seen.add(key)
            yield from _ambiguities(key, here)
            yield from _ambiguities(inner, here)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _ambiguities(inner, (*path, index))
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        yield _path(path), "half a surrogate pair is not text"


def _plain(value: object) -> object:
    if isinstance(value, _Pairs):
        return {key: _plain(inner) for key, inner in value}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _path(location: tuple[str | int, ...]) -> str:
    """`task_definition.acceptance_criteria[2]`; hostile keys are shown escaped and cut."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in location]
    return "".join(parts).removeprefix(".")


def _shown(key: str) -> str:
    escaped = key if key.isidentifier() and key.isascii() else json.dumps(key)
    return escaped if len(escaped) <= 80 else escaped[:77] + "..."

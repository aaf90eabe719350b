"""Documents as the product of a session: what is wrong with one, each thing with its path. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from control_plane.packets.errors import PacketInvalid
from control_plane.packets.parse import load_document

DOCUMENT = "document.json"
"""The output of the sandbox in which a session may leave its document."""
DOCUMENT_BYTES = 2**20
DOCUMENT_DEPTH = 64
MOST_TOLD = 50
_WORDS = 300


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong: where (a JSON path, `$` is the whole), and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SchemaUnusable(ValueError):
    """The schema is none; whoever asks for the document must change it."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises SchemaUnusable for what is no JSON Schema (draft 2020-12) that stands by itself."""
    try:
        Draft202012Validator.check_schema(schema)
        _stands_alone(schema)
        Draft202012Validator(schema, registry=Registry()).is_valid(None)
    except SchemaError as error:
        raise SchemaUnusable(f"{error.json_path}: {error.message[:_WORDS]}") from error
    except Unresolvable as error:
        raise SchemaUnusable(f"a reference leads nowhere: {error}"[:_WORDS]) from error
    except RecursionError as error:
        raise SchemaUnusable("it refers to itself without end, or is nested too deeply") from error


def wrong_with(content: bytes, schema: Mapping[str, Any]) -> list[Wrong]:
    """What keeps `content` from satisfying `schema`; nothing: it does.

    The schema has passed `check_schema`, and no reference is ever followed out of it: an empty
    registry fetches nothing. How long a hostile document takes is bounded by `checking`.
    """
    try:
        document = load_document(content, max_bytes=DOCUMENT_BYTES, max_depth=DOCUMENT_DEPTH)
    except PacketInvalid as error:
        return [_unreadable(path, why) for path, why in error.errors[:MOST_TOLD]]
    found = Draft202012Validator(schema, registry=Registry()).iter_errors(document)
    try:
        errors = list(islice(found, MOST_TOLD + 1))  # the others are never made
    except RecursionError:
        return [Wrong("$", "nested too deeply")]
    told = sorted(errors[:MOST_TOLD], key=_place)
    more = [Wrong("$", f"more than {MOST_TOLD} errors")] if len(errors) > MOST_TOLD else []
    return [Wrong(_shown(error.json_path), _shown(error.message)) for error in told] + more


def _stands_alone(schema: Mapping[str, Any]) -> None:
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for path, word, value in _words(schema, "$"):
        if word == "$id" and path != "$":
            raise SchemaUnusable(f"{path}: only the whole schema has an $id")
        if word in ("$ref", "$dynamicRef"):
            if not value.startswith("#"):
                raise SchemaUnusable(f"{path}: {word} leaves the schema; put it under $defs")
            try:
                resolver.lookup(value)
            except Exception as error:  # a pointer may be wrong in many ways
                why = f"{path}: {word} {value!r} leads nowhere"
                raise SchemaUnusable(why[:_WORDS]) from error


def _words(value: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Every pair of two texts, with the path of its object."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, str):
                yield path, key, inner
            yield from _words(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _words(inner, f"{path}[{index}]")


def _unreadable(path: str, why: str) -> Wrong:
    dot = "." if path and not path.startswith("[") else ""
    words = why if why.startswith("not JSON") or path else f"not JSON: {why}"
    return Wrong(_shown(f"${dot}{path}"), _shown(words))


def _shown(text: str) -> str:
    """Hostile text, short, and such that a database and a terminal can take it."""
    safe = (one if one.isprintable() else ascii(one)[1:-1] for one in text[:_WORDS])
    return "".join(safe)


def _place(error: ValidationError) -> tuple[str, str]:
    return error.json_path, error.message

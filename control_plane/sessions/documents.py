"""Documents as the product of a session: what is wrong with one, each thing with its path. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry

DOCUMENT = "document.json"
"""The output of the sandbox in which a session leaves its document."""
DOCUMENT_BYTES = 2**20
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
    """Raises SchemaUnusable for what is no JSON Schema (draft 2020-12)."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SchemaUnusable(f"{error.json_path}: {error.message[:_WORDS]}") from error


def wrong_with(content: bytes, schema: Mapping[str, Any]) -> list[Wrong]:
    """What keeps `content` from satisfying `schema`; nothing: it does.

    No reference is ever followed out of the schema: an empty registry fetches nothing.
    """
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return [Wrong("$", f"not JSON: {error or type(error).__name__}"[:_WORDS])]
    validator = Draft202012Validator(schema, registry=Registry())
    try:
        errors = sorted(validator.iter_errors(document), key=_place)
    except RecursionError:
        return [Wrong("$", "nested too deeply")]
    told = [Wrong(error.json_path, error.message[:_WORDS]) for error in errors[:MOST_TOLD]]
    more = len(errors) - MOST_TOLD
    return told + ([Wrong("$", f"{more} more errors")] if more > 0 else [])


def _place(error: ValidationError) -> tuple[str, str]:
    return error.json_path, error.message


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

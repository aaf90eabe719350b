"""The API's own description (OpenAPI): with the token that every request needs, and its errors."""

from typing import Any

from fastapi import FastAPI

from control_plane.api.tokens import OPEN_PATHS
from control_plane.errors import Who

_REF = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What the sender must change", "content": _REF},
    "5XX": {"description": "What the platform could not do, and what to do next", "content": _REF},
}
"""Of every route; without them FastAPI would describe errors that are not ours."""
_TEXT = {"type": "string"}
_PART = {"type": "object", "properties": {"path": _TEXT, "message": _TEXT}}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "who", "next"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "pattern": "^urn:vsc:problem:"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "minLength": 1, "description": "what is wrong"},
        "who": {"enum": [one.value for one in Who], "description": "who must act"},
        "next": {"type": "string", "minLength": 1, "description": "what to do next"},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {**_PART, "required": ["path", "message"], "additionalProperties": False},
            "description": "the path of each thing that is wrong",
        },
    },
}


def media(*types: str) -> dict[int | str, dict[str, Any]]:
    """For a route that answers with bytes of these media types."""
    return {200: {"content": {one: {} for one in types}}}


def described(app: FastAPI) -> dict[str, Any]:
    """The description of the whole application."""
    document = app.openapi()
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path in OPEN_PATHS & document["paths"].keys():
        for operation in document["paths"][path].values():
            operation["security"] = []
    return document

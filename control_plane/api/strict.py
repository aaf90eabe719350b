"""Requests are read strictly: no unknown parameter, and bodies as packets are.

Size, depth, UTF-8, equal keys, NaN: nothing else reaches a handler.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from control_plane.api.problems import invalid, problem
from control_plane.errors import HTTP
from control_plane.packets.errors import PacketInvalid
from control_plane.packets.parse import MAX_BYTES, load_document


class StrictRoute(APIRoute):
    """A route that takes no parameter it does not know, and no body that has not been vetted."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Look at the request strictly, then do what every route does."""
        handler = super().get_route_handler()
        fields = get_flat_params(self.dependant)
        known = {field.alias for field in fields if isinstance(field.field_info, Query)}
        has_body = self.body_field is not None

        async def vetted(request: Request) -> Response:
            if unknown := [name for name in request.query_params if name not in known]:
                wrong = [(name, f"this route has {_named(known)}") for name in unknown]
                return invalid(wrong)
            return (has_body and await _vet_body(request)) or await handler(request)

        return vetted


def _named(known: set[str]) -> str:
    return f"no such parameter, but {', '.join(sorted(known))}" if known else "no parameters"


async def _vet_body(request: Request) -> Response | None:
    """Read the body strictly before its model sees it, and keep it. An answer: it is refused."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "send the body uncompressed")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "send the body as application/json")
    body = await whole(request, MAX_BYTES)
    try:
        _no_nul(load_document(body))
    except PacketInvalid as error:
        why = "the body is not JSON that every parser reads alike"
        return problem(replace(HTTP[400], kind="body_refused"), why, errors=error.errors)
    request._body = body
    return None


async def whole(request: Request, max_bytes: int) -> bytes:
    """The body, which never takes more memory than its cap. 413 past it."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or len(declared) > 15 or int(declared) > max_bytes:
        raise HTTPException(413, f"a body has at most {max_bytes} bytes")
    body = bytearray()
    try:
        async for block in request.stream():
            body += block
            if len(body) > max_bytes:
                raise HTTPException(413, f"a body has at most {max_bytes} bytes")
    except ClientDisconnect as error:
        raise HTTPException(400, "the body ended early") from error
    return bytes(body)


def _no_nul(value: object, path: str = "") -> None:
    """PostgreSQL's text cannot hold NUL. Raises PacketInvalid, with the path."""
    if isinstance(value, str) and "\x00" in value:
        raise PacketInvalid([(path, "a NUL character")])
    if isinstance(value, dict):
        for key, item in value.items():
            _no_nul(key, path)
            _no_nul(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _no_nul(item, f"{path}[{index}]")

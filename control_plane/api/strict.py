"""Request bodies are read as strictly as packets: size, depth, UTF-8, equal keys, NaN.

Nothing else reaches a handler.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from control_plane.api.problems import problem
from control_plane.packets.errors import PacketInvalid
from control_plane.packets.parse import MAX_BYTES, load_document


class StrictRoute(APIRoute):
    """A route whose JSON body has been read strictly before its model sees it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Vet the body, then do what every route does; the body is read once and kept."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def vetted(request: Request) -> Response:
            if request.headers.get("content-encoding", "identity") != "identity":
                raise HTTPException(415, "send the body uncompressed")
            media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != "application/json":
                raise HTTPException(415, "send the body as application/json")
            body = await whole(request, MAX_BYTES)
            try:
                _no_nul(load_document(body))
            except PacketInvalid as error:
                return problem(
                    400,
                    "body_refused",
                    "the body is not JSON that every parser reads alike",
                    errors=error.errors,
                )
            request._body = body
            return await handler(request)

        return vetted


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

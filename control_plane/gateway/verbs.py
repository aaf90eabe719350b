"""The HTTP verbs of a door (`runners.protocol`): capsule, log chunks, outputs.

One small ASGI application for all doors.

Which sandbox speaks is not in the request: the socket it came through carries the answer
(`request.state.door`).
"""

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, get_args

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.numbering import Gap, StreamFull, fresh
from control_plane.gateway.ports import Chunk, ChunkSink, DoorAccess, OutputSink, Position
from runners.protocol import MAX_CHUNK_BYTES, Stream
from sandboxes.errors import TooLarge

_DRAIN_BYTES = 16 * 2**20
_DRAIN_IDLE_S = 0.3


class Verbs:
    """One sandbox's side of the HTTP verbs: its access, and where its streams stand."""

    def __init__(
        self,
        access: DoorAccess,
        caps: DoorCaps,
        chunks: ChunkSink,
        outputs: OutputSink,
        positions: Mapping[Stream, Position],
    ) -> None:
        self.access, self.caps = access, caps
        self._chunks, self._outputs = chunks, outputs
        self._positions = {
            stream: positions.get(stream, Position()) for stream in access.stream_caps
        }
        self._appending = asyncio.Lock()  # two requests at once must not both believe to be next

    async def append(self, chunks: list[Chunk]) -> Response:
        """Keep what is new, and say which number each stream expects next."""
        async with self._appending:
            try:
                new, after = fresh(self._positions, chunks, self.access.stream_caps)
            except Gap as problem:
                return self._numbers(409, str(problem))
            except StreamFull as problem:
                return self._numbers(413, str(problem))
            if new:
                await self._chunks.append(self.access.sandbox_id, new)
            self._positions = after
        return self._numbers(200)

    async def put(self, name: str, source: AsyncIterator[bytes], limit_bytes: int) -> Response:
        """Keep one declared output."""
        try:
            kept = await self._outputs.put(self.access.sandbox_id, name, source, limit_bytes)
        except TooLarge:
            return _problem(413, f"{name}: at most {limit_bytes} bytes")
        return JSONResponse({"sha256": kept.sha256, "size_bytes": kept.size_bytes})

    def _numbers(self, status: int, error: str | None = None) -> Response:
        document: dict[str, Any] = {
            "next": {stream: at.next for stream, at in self._positions.items()}
        }
        return JSONResponse(document if error is None else document | {"error": error}, status)


def door_application() -> Starlette:
    """The application behind every door."""
    return Starlette(
        routes=[
            Route("/capsule", _capsule, methods=["GET"]),
            Route("/chunks", _append, methods=["POST"]),
            Route("/outputs/{name}", _put, methods=["PUT"]),
        ],
        exception_handlers={HTTPException: _on_http_exception, Exception: _on_failure},
    )


async def _capsule(request: Request) -> Response:
    return Response(_of(request).access.capsule, media_type="application/json")


async def _append(request: Request) -> Response:
    verbs = _of(request)
    body = await _whole(request, verbs.caps)
    if body is None:
        return _problem(413, f"at most {verbs.caps.request_bytes} bytes")
    try:
        chunks = _read_chunks(body)
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        return _problem(400, f"not a list of chunks: {error}"[:300])
    return await verbs.append(chunks)


async def _put(request: Request) -> Response:
    verbs, name = _of(request), request.path_params["name"]
    limit_bytes = verbs.access.outputs.get(name)
    if limit_bytes is None:
        return _problem(404, "this stage declares no such output")
    if _declared_bytes(request) > limit_bytes:
        await _drain(request)
        return _problem(413, f"{name}: at most {limit_bytes} bytes")
    try:
        async with asyncio.timeout(verbs.caps.body_total_s):
            answer = await verbs.put(name, request.stream(), limit_bytes)
            if answer.status_code == 413:
                await _drain(request)
            return answer
    except (ClientDisconnect, TimeoutError):
        return _problem(408, "the body did not arrive in time")


def _of(request: Request) -> Verbs:
    door: Verbs = request.state.door
    return door


def _read_chunks(body: bytes) -> list[Chunk]:
    document = json.loads(body.decode("utf-8"))
    if set(document) != {"chunks"} or not isinstance(document["chunks"], list):
        raise ValueError('the body must be {"chunks": [...]}')
    return [_read_chunk(item) for item in document["chunks"]]


def _read_chunk(item: Any) -> Chunk:  # noqa: ANN401 -- hostile JSON can be anything; this function finds out
    if not isinstance(item, dict) or set(item) != {"stream", "seq", "data"}:
        raise ValueError("a chunk has stream, seq and data, and nothing else")
    stream, seq, text = item["stream"], item["seq"], item["data"]
    if stream not in get_args(Stream):
        raise ValueError(f"no stream {stream!r:.40}")
    if type(seq) is not int or not 0 <= seq < 2**31:  # a bool is an int, too
        raise ValueError("seq is a number from 0")
    if not isinstance(text, str):
        raise ValueError("data is base64 text")  # noqa: TRY004 -- one error type for all that is wrong with a body
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("data is not base64") from error
    if not 0 < len(data) <= MAX_CHUNK_BYTES:
        raise ValueError(f"a chunk has 1 to {MAX_CHUNK_BYTES} bytes")
    return Chunk(stream, seq, data)


async def _whole(request: Request, caps: DoorCaps) -> bytes | None:
    """The body, which never takes more memory than its cap; None: it is larger."""
    body = bytearray()
    try:
        async with asyncio.timeout(caps.body_total_s):
            if _declared_bytes(request) <= caps.request_bytes:
                async for block in request.stream():
                    body += block
                    if len(body) > caps.request_bytes:
                        break
                else:
                    return bytes(body)
            await _drain(request)
    except (ClientDisconnect, TimeoutError) as error:
        raise HTTPException(408, "the body did not arrive in time") from error
    return None


async def _drain(request: Request) -> None:
    """Read on for a little while: a client that is still sending would take a broken pipe for the answer."""
    drained_bytes, blocks = 0, aiter(request.stream())
    with contextlib.suppress(TimeoutError, ClientDisconnect, StopAsyncIteration):
        while drained_bytes < _DRAIN_BYTES:
            async with asyncio.timeout(_DRAIN_IDLE_S):
                drained_bytes += len(await anext(blocks))


def _declared_bytes(request: Request) -> int:
    declared = request.headers.get("content-length", "0")
    return int(declared) if declared.isdecimal() and len(declared) < 20 else 0


async def _on_http_exception(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException only") from error
    return _problem(error.status_code, error.detail)


async def _on_failure(_: Request, __: Exception) -> Response:
    return _problem(503, "the platform could not keep this; send it again")


def _problem(status: int, error: str) -> Response:
    """A refusal ends the connection: the rest of a body that nobody reads must not be taken for a request."""
    return JSONResponse({"error": error}, status, headers={"connection": "close"})

"""The HTTP verbs of a door (`runners.protocol`): an ordinary ASGI application.

Which sandbox speaks is not in the request: whoever serves the application says it (`of`), by the
socket that the request came through, or, where a sandbox has a URL, by its token.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, get_args

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.gateway.access import DoorAccess
from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.grants import Verb
from control_plane.gateway.numbering import Gap, Positions, StreamFull
from control_plane.gateway.pace import Pace
from control_plane.gateway.ports import (
    Accepted,
    AuditSink,
    Capsules,
    Chunk,
    ChunkSink,
    Invalid,
    Refused,
    StreamCaps,
    StreamsSealed,
    Submissions,
    SubmitsSealed,
    TooManyAttempts,
)
from runners.protocol import MAX_CHUNK_BYTES, Stream
from sandboxes.errors import BlobMissing

_DRAIN_BYTES = 16 * 2**20
_DRAIN_IDLE_S = 0.3
_log = structlog.get_logger(__name__)


class Verbs:
    """One sandbox's side of the HTTP verbs. What it keeps is in the database, not here."""

    def __init__(
        self,
        access: DoorAccess,
        caps: DoorCaps,
        chunks: ChunkSink,
        capsules: Capsules,
        audit: AuditSink,
        clock: Callable[[], float] = time.monotonic,
        submissions: Submissions | None = None,
    ) -> None:
        self.access, self.caps, self._audit = access, caps, audit
        self._chunks, self._capsules = chunks, capsules
        self._pace = Pace(caps.requests_at_once, caps.requests_per_s, clock)
        self._streams = StreamCaps(access.stream_bytes, caps.stream_rows)
        self._submissions, self._submitting = submissions, asyncio.Lock()
        self._appending = asyncio.Lock()  # a flood waits here, not for connections of the database

    def admit(self, verb: Verb) -> None:
        """Raises HTTPException where the stage has no such verb, or it is asked too often."""
        if verb not in self.access.verbs:
            raise HTTPException(403, f"this stage has no {verb}")
        if not self._pace.admits():
            raise HTTPException(429, "too many requests; send more in one, later")

    async def append(self, chunks: list[Chunk]) -> Response:
        """Keep what is new, and say which number each stream expects next."""
        try:
            async with self._appending:
                after = await self._chunks.append(self.access.sandbox_id, chunks, self._streams)
        except Gap as problem:
            return self._numbers(409, problem.positions, str(problem))
        except StreamFull as problem:
            return self._numbers(413, problem.positions, str(problem))
        except StreamsSealed:
            return _problem(410, "this sandbox has ended; nothing more is kept of it")
        return self._numbers(200, after)

    async def submit(self, document: bytes) -> Response:
        """Take the document, or say what is wrong with it; one after another."""
        if self._submissions is None:
            return _problem(403, "this gateway takes no documents")
        try:
            async with self._submitting:
                answer = await self._submissions.submit(
                    self.access.run_id, self.access.sandbox_id, document
                )
        except SubmitsSealed:
            return _problem(410, "this sandbox has ended; nothing more is taken of it")
        return _submit_answer(answer)

    def capsule(self) -> AsyncIterator[bytes]:
        """The capsule's bytes."""
        return self._capsules.stream(self.access.capsule)

    async def refuse_egress(self, destination: str) -> Response:
        """CONNECT has a socket of its own, where there is one: put the attempt on record."""
        try:
            await self._audit.egress(
                self.access.run_id,
                self.access.sandbox_id,
                printable(destination),
                allowed=False,
                rule="not at this socket",
                most=self.caps.egress_attempts,
            )
        except TooManyAttempts as problem:
            return _problem(429, str(problem))
        return _problem(403, "this stage does not leave its sandbox here")

    def _numbers(self, status: int, positions: Positions, error: str | None = None) -> Response:
        at = {
            stream: positions[stream].next if stream in positions else 0
            for stream in self.access.stream_bytes
        }
        return JSONResponse({"next": at} | ({} if error is None else {"error": error}), status)


class DoorApplication:
    """The application of one door: every request that comes here is `verbs`' sandbox's."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and end its connection with the answer."""

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        scope["state"] = {**scope.get("state", {}), "door": self._verbs}
        if scope["method"] == "CONNECT":
            answer = await _connect(scope, self._verbs)
            await answer(scope, receive, send_last)
        else:
            await _APPLICATION(scope, receive, send_last)


async def _connect(scope: Scope, verbs: Verbs) -> Response:
    try:
        return await verbs.refuse_egress(str(scope["path"]))
    except Exception:  # noqa: BLE001 -- whatever kept the record from being made, the answer is no
        _log.exception("egress.audit_failed", sandbox=str(verbs.access.sandbox_id))
        return _problem(503, "the attempt could not be recorded; try again")


def printable(destination: str) -> str:
    """Hostile text, short and harmless enough for an audit row."""
    return destination[:200].encode("unicode_escape").decode("ascii")


async def _capsule(request: Request) -> Response:
    verbs = _of(request)
    verbs.admit(Verb.CAPSULE)
    blocks = verbs.capsule()
    try:
        first = await anext(blocks, b"")
    except BlobMissing as error:
        raise HTTPException(404, "the capsule is gone") from error
    return StreamingResponse(_after(first, blocks), media_type="application/json")


async def _after(first: bytes, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in blocks:
        yield block


async def _append(request: Request) -> Response:
    verbs = _of(request)
    body = await _admitted(request, Verb.CHUNKS)
    try:
        chunks = _read_chunks(body, verbs.caps.request_chunks)
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        return _problem(400, f"not a list of chunks: {error}"[:300])
    return await verbs.append(chunks)


async def _submit(request: Request) -> Response:
    return await _of(request).submit(await _admitted(request, Verb.SUBMIT))


def _submit_answer(answer: Accepted | Invalid | Refused) -> Response:
    match answer:
        case Accepted(sha256):
            return JSONResponse({"sha256": sha256})
        case Refused(why):
            return _problem(409, why)
        case Invalid(wrong, tries_left):
            left = f"{tries_left} more tries" if tries_left else "that was the last try"
            document = {
                "error": f"the document does not satisfy its schema; {left}",
                "errors": [{"path": one.path, "message": one.message} for one in wrong],
                "tries_left": tries_left,
            }
            return JSONResponse(document, 422)


async def _admitted(request: Request, verb: Verb) -> bytes:
    """The body of a request that the stage may make. Raises HTTPException."""
    verbs = _of(request)
    try:
        verbs.admit(verb)
    except HTTPException:
        await _drain(request)
        raise
    body = await _whole(request, verbs.caps)
    if body is None:
        raise HTTPException(413, f"at most {verbs.caps.request_bytes} bytes")
    return body


def _of(request: Request) -> Verbs:
    door: Verbs = request.state.door
    return door


def _read_chunks(body: bytes, most: int) -> list[Chunk]:
    document = json.loads(body.decode("utf-8"))
    if set(document) != {"chunks"} or not isinstance(document["chunks"], list):
        raise ValueError('the body must be {"chunks": [...]}')
    if len(document["chunks"]) > most:
        raise ValueError(f"at most {most} chunks in a request; a chunk has {MAX_CHUNK_BYTES} bytes")
    return [_read_chunk(item) for item in document["chunks"]]


def _read_chunk(item: Any) -> Chunk:  # noqa: ANN401 -- hostile JSON can be anything
    if not isinstance(item, dict) or set(item) != {"stream", "seq", "data"}:
        raise ValueError("a chunk has stream, seq and data, and nothing else")
    stream, seq, text = item["stream"], item["seq"], item["data"]
    if stream not in get_args(Stream):
        raise ValueError(f"no stream {stream!r:.40}")
    if type(seq) is not int or not 0 <= seq < 2**31:  # a bool is an int, too
        raise ValueError("seq is a number from 0")
    if not isinstance(text, str):
        raise ValueError("data is base64 text")  # noqa: TRY004 -- one error for a bad body
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
                async for block in _blocks(request, caps.body_idle_s):
                    body += block
                    if len(body) > caps.request_bytes:
                        break
                else:
                    return bytes(body)
            await _drain(request)
    except (ClientDisconnect, TimeoutError) as error:
        raise HTTPException(408, "the body did not arrive in time") from error
    return None


async def _blocks(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises TimeoutError when nothing comes for `idle_s`."""
    blocks = aiter(request.stream())
    while True:
        async with asyncio.timeout(idle_s):
            block = await anext(blocks, None)
        if block is None:
            return
        yield block


async def _drain(request: Request) -> None:
    """Read on for a while: a client that is still sending would see a broken pipe, no answer."""
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
    return JSONResponse({"error": error}, status)


_APPLICATION: ASGIApp = Starlette(
    routes=[
        Route("/capsule", _capsule, methods=["GET"]),
        Route("/chunks", _append, methods=["POST"]),
        Route("/submit", _submit, methods=["POST"]),
    ],
    exception_handlers={HTTPException: _on_http_exception, Exception: _on_failure},
)

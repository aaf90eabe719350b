"""Errors as RFC 9457 problem documents, from the one table in `control_plane.errors`."""

import http
from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from starlette.exceptions import HTTPException

from control_plane.errors import ANSWERS, BUG, answer_to
from control_plane.packets.errors import PacketInvalid

_log = structlog.get_logger(__name__)


def problem(
    status: int,
    kind: str,
    detail: str,
    *,
    errors: Sequence[tuple[str, str]] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """One problem document.

    `kind` is stable; `errors` name the path of each thing that is wrong.
    """
    document: dict[str, Any] = {
        "type": f"urn:vsc:problem:{kind}",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": _sendable(detail),
    }
    if errors:
        document["errors"] = [
            {"path": _sendable(path), "message": _sendable(message)} for path, message in errors
        ]
    return JSONResponse(document, status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    for kind in ANSWERS:
        app.add_exception_handler(kind, _on_ours)
    app.add_exception_handler(DataError, _on_data)
    app.add_exception_handler(DBAPIError, _on_database)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


async def _on_ours(_: Request, error: Exception) -> Response:
    answer = answer_to(error)
    errors = error.errors if isinstance(error, PacketInvalid) else ()
    return problem(answer.http_status, answer.kind, str(error), errors=errors)


async def _on_data(_: Request, __: Exception) -> Response:
    return problem(
        400,
        "unusable_text",
        "the request holds text that the database cannot keep, such as a NUL character",
    )


async def _on_database(_: Request, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and (
        error.connection_invalidated or isinstance(error, OperationalError)
    ):
        return problem(
            503,
            "database_unavailable",
            "the database does not answer; try again",
            headers={"retry-after": "2"},
        )
    raise error


async def _on_validation(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError("registered for RequestValidationError only") from error
    errors = [
        (".".join(str(part) for part in one["loc"][1:]), one["msg"]) for one in error.errors()
    ]
    return problem(422, "invalid", "the request does not fit its schema", errors=errors)


async def _on_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException only") from error
    headers = dict(error.headers) if error.headers else None
    return problem(
        error.status_code, f"http_{error.status_code}", str(error.detail), headers=headers
    )


async def _on_bug(request: Request, error: Exception) -> Response:
    _log.error("api.bug", path=request.url.path, error=repr(error))
    return problem(
        BUG.http_status,
        BUG.kind,
        "this is a bug of the platform; the log of `vsc up` has its trace",
    )


def _sendable(text: str) -> str:
    """Hostile input comes back in messages: no lone surrogate may break an answer about it."""
    return text.encode("utf-8", "backslashreplace").decode()[:4000]

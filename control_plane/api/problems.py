"""Errors as RFC 9457 problem documents, from the one table in `control_plane.errors`."""

import http
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from starlette.exceptions import HTTPException

from control_plane.db.errors import DatabaseUnavailable
from control_plane.errors import ANSWERS, BUG, HTTP, Answer, answer_to, answer_with
from control_plane.packets.errors import PacketInvalid

_log = structlog.get_logger(__name__)


def problem(
    answer: Answer,
    detail: str,
    *,
    errors: Sequence[tuple[str, str]] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """One problem document: what is wrong, who must act, and what to do next.

    `errors` name the path of each thing that is wrong.
    """
    document: dict[str, Any] = {
        "type": f"urn:vsc:problem:{answer.kind}",
        "title": http.HTTPStatus(answer.http_status).phrase,
        "status": answer.http_status,
        "detail": _sendable(detail),
        "who": answer.who.value,
        "next": answer.next,
    }
    if errors:
        document["errors"] = [
            {"path": _sendable(path), "message": _sendable(message)} for path, message in errors
        ]
    media_type = "application/problem+json"
    return JSONResponse(document, answer.http_status, headers=headers, media_type=media_type)


def invalid(errors: Sequence[tuple[str, str]]) -> JSONResponse:
    """A request that does not fit its schema; `errors` say where."""
    return problem(HTTP[422], "the request does not fit its schema", errors=errors)


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
    errors = error.errors if isinstance(error, PacketInvalid) else ()
    return problem(answer_to(error), str(error), errors=errors)


async def _on_data(_: Request, __: Exception) -> Response:
    why = "the request holds text that the database cannot keep, such as a NUL character"
    return problem(replace(HTTP[400], kind="unusable_text"), why)


async def _on_database(_: Request, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and (
        error.connection_invalidated or isinstance(error, OperationalError)
    ):
        return problem(
            ANSWERS[DatabaseUnavailable],
            "the database does not answer; try again",
            headers={"retry-after": "2"},
        )
    raise error


async def _on_validation(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError("registered for RequestValidationError only") from error
    return invalid(
        [(".".join(str(part) for part in one["loc"][1:]), one["msg"]) for one in error.errors()]
    )


async def _on_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException only") from error
    headers = dict(error.headers) if error.headers else None
    return problem(answer_with(error.status_code), str(error.detail), headers=headers)


async def _on_bug(request: Request, error: Exception) -> Response:
    _log.error("api.bug", path=request.url.path, error=repr(error))
    return problem(BUG, "this is a bug of the platform")


def _sendable(text: str) -> str:
    """Hostile input comes back in messages: no lone surrogate may break an answer about it."""
    return text.encode("utf-8", "backslashreplace").decode()[:4000]

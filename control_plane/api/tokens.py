"""No token, no answer: a request is refused before its path or its body is looked at.

The liveness probe alone needs none.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from control_plane.api.bounded import bounded
from control_plane.api.problems import problem
from control_plane.auth.service import Operator
from control_plane.db.errors import DatabaseUnavailable
from control_plane.errors import ANSWERS, HTTP

OPEN_PATHS = frozenset({"/v1/health/live"})
Authenticate = Callable[[str], Coroutine[Any, Any, Operator | None]]
_ANSWER_S = 10.0


class RequireToken:
    """ASGI middleware; puts the operator into `request.state.operator`."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app, self._authenticate = app, authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through with its operator, or answer 401."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        token = _bearer(scope)
        try:
            operator = await bounded(self._authenticate(token), _ANSWER_S) if token else None
        except TimeoutError:
            detail = f"the database has not answered in {_ANSWER_S:g} s"
            await problem(ANSWERS[DatabaseUnavailable], detail)(scope, receive, send)
            return
        if operator is None:
            headers = {"www-authenticate": "Bearer", "connection": "close"}
            detail = "no token that is known: send `Authorization: Bearer TOKEN`"
            await problem(HTTP[401], detail, headers=headers)(scope, receive, send)
            return
        scope.setdefault("state", {})["operator"] = operator
        await self._app(scope, receive, send)


def _bearer(scope: Scope) -> str | None:
    """The token of exactly one well-formed Authorization field."""
    fields = [value for name, value in scope.get("headers", ()) if name == b"authorization"]
    if len(fields) != 1:
        return None
    scheme, _, token = fields[0].partition(b" ")
    if (
        scheme.lower() != b"bearer"
        or not token.isascii()
        or not 16 <= len(token) <= 200
        or b"\x00" in token
    ):
        return None
    return str(token.decode("ascii"))

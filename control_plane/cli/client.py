"""The operator API as calls.

The same for a server on a port and for an application in this process.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from control_plane.cli.errors import ServerError

Document = dict[str, Any]
_EVENT_WAIT_S = 5.0
_RETRY_S = 1.0
_RETRIES = 30


class Client:
    """Calls over `http`, which carries the address and the token."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: object) -> Document:
        """A document. Raises ServerError."""
        return await self._call("GET", path, params=_given(query))

    async def text(self, path: str, **query: object) -> str:
        """A text. Raises ServerError."""
        return (await self._send("GET", path, params=_given(query))).text

    async def content(self, path: str) -> bytes:
        """The bytes as they are. Raises ServerError."""
        return (await self._send("GET", path)).content

    async def post(
        self, path: str, document: Mapping[str, Any] | None = None, **headers: str
    ) -> Document:
        """Send a document and get one. Raises ServerError."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._call("POST", path, json=document, headers=named)

    async def upload(self, data: bytes) -> str:
        """Keep bytes; their sha256."""
        return str((await self._call("POST", "/v1/blobs", content=data))["sha256"])

    async def events(self, run_id: str) -> AsyncIterator[Document]:
        """A run's events from the first to the last.

        A control plane that starts again meanwhile is waited for.
        """
        after, failures = 0, 0
        while True:
            try:
                page = await self.get(
                    f"/v1/runs/{run_id}/events", after=after, wait_s=_EVENT_WAIT_S
                )
            except ServerError as error:
                failures += 1
                if error.kind not in ("unreachable", "database_unavailable") or failures > _RETRIES:
                    raise
                await asyncio.sleep(_RETRY_S)
                continue
            failures = 0
            for event in page["items"]:
                yield event
            after = page["next"]
            if page["ended"]:
                return

    async def log(self, run_id: str, **query: object) -> AsyncIterator[Document]:
        """Records of a run's log; the last one says `"end": true`."""
        path = f"/v1/runs/{run_id}/logs"
        try:
            async with self._http.stream(
                "GET", path, params=_given(query), timeout=None
            ) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise _refusal(response)
                async for line in response.aiter_lines():
                    yield json.loads(line)
        except httpx.HTTPError as error:
            raise _unreachable(self._http, error) from error

    async def _call(self, method: str, path: str, **request: Any) -> Document:  # noqa: ANN401 -- handed to httpx as it is
        document: Document = (await self._send(method, path, **request)).json()
        return document

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 -- handed to httpx as it is
        try:
            response = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise _unreachable(self._http, error) from error
        if response.is_error:
            raise _refusal(response)
        return response


def _given(query: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _refusal(response: httpx.Response) -> ServerError:
    """The server's problem document as an error of ours."""
    try:
        problem = response.json()
        kind = str(problem["type"]).rpartition(":")[2]
        message = str(problem["detail"])
        for one in problem.get("errors", []):
            message += f"\n  {one['path']}: {one['message']}"
        message += f"\nnext ({problem['who']}): {problem['next']}"
    except (ValueError, KeyError, TypeError):
        kind, message = "http", f"the server answered {response.status_code}"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        message = (
            "the server does not take this token; "
            "give the one that `vsc up` made with --token-file or VSC_TOKEN"
        )
    return ServerError(kind, message)


def _unreachable(http: httpx.AsyncClient, error: httpx.HTTPError) -> ServerError:
    why = str(error) or type(error).__name__
    return ServerError(
        "unreachable",
        f"no control plane answers at {http.base_url} ({why}); start one with `vsc up`",
    )

"""The floor: the Engine API over its socket with nothing between, not even a client library."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"
_TIMEOUT_S = 120.0


class RawEngine:
    """One kept-alive connection. Blocking."""

    def __init__(self, path: str = SOCKET) -> None:
        self._connection = _UnixConnection(path)

    def lifecycle(self, name: str, config: Mapping[str, Any]) -> bytes:
        """Create, start, wait, read the log, remove: the bytes of the log."""
        made = json.loads(self._call("POST", f"/containers/create?name={quote(name)}", config))[
            "Id"
        ]
        try:
            self._call("POST", f"/containers/{made}/start")
            ended = json.loads(self._call("POST", f"/containers/{made}/wait"))
            if ended["StatusCode"] != 0:
                raise RuntimeError(f"the bare container ended with {ended}")
            return self._call("GET", f"/containers/{made}/logs?stdout=1")
        finally:
            self._call("DELETE", f"/containers/{made}?force=1&v=1")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        self._connection.request(
            method, f"/v1.41{path}", content, {"Content-Type": "application/json"}
        )
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:500]!r}")
        return said


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)

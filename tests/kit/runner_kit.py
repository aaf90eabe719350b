"""The real runner as the real PID 1 of a PID namespace, and a small real door."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Self

from runners.pack import runner_pyz

_BOOT = """
import sys
sys.path.insert(0, {pyz!r})
from pathlib import Path
from runners.supervisor import Places, supervise
home = Path({home!r})
capsule, workspace, outputs = home / "capsule.json", home / "workspace", home / "out"
sys.exit(supervise(Places(capsule, workspace, outputs, home / "d/door", {port})))
"""


@dataclass
class Ended:
    code: int
    result: dict[str, Any]
    stdout: bytes
    stderr: bytes
    took_s: float


class Sandbox:
    """Places for one run.

    No isolation but the PID namespace, which is what makes the supervisor PID 1.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("workspace", "out", "d"):
            (home / name).mkdir()
        (home / "runner.pyz").write_bytes(runner_pyz())
        self.workspace, self.out, self.door = home / "workspace", home / "out", home / "d/door"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self, driver: Any, **capsule: Any) -> "subprocess.Popen[bytes]":
        document = {
            "run": "r",
            "stage": "execute",
            "driver": driver,
            "deadline_s": 20.0,
            "protocol": 1,
            **capsule,
        }
        return self.start_text(json.dumps(document))

    def start_text(self, capsule: str | bytes) -> "subprocess.Popen[bytes]":
        (self.home / "capsule.json").write_bytes(
            capsule.encode() if isinstance(capsule, str) else capsule
        )
        boot = _BOOT.format(pyz=str(self.home / "runner.pyz"), home=str(self.home), port=self.port)
        as_user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        command = (
            "unshare",
            *as_user,
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            sys.executable,
            "-I",
            "-c",
            boot,
        )
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ended(self, process: "subprocess.Popen[bytes]", timeout_s: float = 60.0) -> Ended:
        started = time.monotonic()
        stdout, stderr = process.communicate(timeout=timeout_s)
        return Ended(process.returncode, self.result(), stdout, stderr, time.monotonic() - started)

    def run(self, driver: Any, **capsule: Any) -> Ended:
        return self.ended(self.start(driver, **capsule))

    def shell(self, script: str, **capsule: Any) -> Ended:
        return self.run({"kind": "command", "argv": ["/bin/sh", "-c", script]}, **capsule)

    def python(self, script: str, **capsule: Any) -> Ended:
        return self.run(
            {"kind": "command", "argv": [sys.executable, "-I", "-c", script]}, **capsule
        )

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "result.json").read_text())
        return found


def pid_one(process: "subprocess.Popen[bytes]") -> int:
    """The supervisor's pid as the host knows it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 10
    while not (found := children.read_text().split()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(found[0])


@dataclass
class Kept:
    """What a control plane would keep; it outlives a door's restart."""

    chunks: dict[str, list[bytes]] = field(default_factory=dict)
    posts: int = 0
    resent: int = 0
    misbehave: Any = None
    """Called with the number of the post.

    May return a status, `silence` (keep and do not answer), or None.
    """

    def text(self, stream: str) -> bytes:
        return b"".join(self.chunks.get(stream, []))

    def append(self, chunks: list[dict[str, Any]]) -> int:
        for chunk in chunks:
            known = self.chunks.setdefault(chunk["stream"], [])
            if chunk["seq"] > len(known):
                return 409
            if chunk["seq"] < len(known):
                self.resent += 1
                assert known[chunk["seq"]] == base64.b64decode(chunk["data"])
            else:
                known.append(base64.b64decode(chunk["data"]))
        return 200


class Door(ThreadingMixIn, UnixStreamServer):
    """HTTP over a Unix socket.

    Closing it and making another over the same `kept` is a restart of the control plane.
    """

    daemon_threads = True

    def __init__(self, path: Path, kept: Kept) -> None:
        path.unlink(missing_ok=True)
        self.kept = kept
        super().__init__(str(path), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert len(body) <= 2**20
        kept = self.server.kept
        kept.posts += 1
        odd = kept.misbehave(kept.posts) if kept.misbehave else None
        status = odd if isinstance(odd, int) else kept.append(json.loads(body)["chunks"])
        if odd == "silence":
            self.close_connection = True
            return
        answer = json.dumps(
            {"next": {stream: len(chunks) for stream, chunks in kept.chunks.items()}}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def address_string(self) -> str:
        return "sandbox"

    def log_message(self, *_: object) -> None:
        return

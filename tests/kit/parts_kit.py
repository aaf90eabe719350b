"""API, orchestrator and gateway as three processes over one home, and who watches them."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from control_plane.auth.service import token_file
from control_plane.cli.address import address_file
from control_plane.processes.names import Part

VSC = (sys.executable, "-c", "from control_plane.cli.main import main; main()")
_ADDRESS = re.compile(r'"address": "([^"]+)"')
_AGAIN_S = 0.1


@dataclass
class Trio:
    """The processes of a control plane, of which each may be killed and started again."""

    home: Path
    environ: Mapping[str, str]
    logs: Path
    running: dict[Part, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, part: Part) -> None:
        """At any free port: it says which."""
        with self._log(part).open("wb") as log:
            self.running[part] = subprocess.Popen(
                [*VSC, "up", "--only", part.value, "--port", "0", "--json"],
                env=self.environ,
                stdout=log,
                stderr=log,
            )

    def kill(self, part: Part) -> None:
        """As a machine kills it: nothing is put in order."""
        self.running[part].kill()
        self.running[part].wait()

    async def end(self, part: Part) -> int:
        """SIGTERM, and how it then ended."""
        self.running[part].terminate()
        return await asyncio.to_thread(self.running[part].wait, 60)

    async def told(self, part: Part) -> str:
        """Its address, once it has come up."""
        process = self.running[part]
        async with asyncio.timeout(300):
            while (found := _ADDRESS.search(self._log(part).read_text())) is None:
                assert process.poll() is None, self._log(part).read_text()
                await asyncio.sleep(0.05)
        return found[1]

    async def health(self, part: Part, which: str) -> tuple[int, dict[str, Any]]:
        """`live` or `ready`, as it says."""
        async with self.client(await self.told(part)) as client:
            answer = await client.get(f"/v1/health/{which}")
        return answer.status_code, answer.json()

    async def ask(self, method: str, path: str, **request: Any) -> Any:
        """Ask the API until one answers, wherever it is by then."""
        while True:
            try:
                async with self.client() as client:
                    answer = await client.request(method, path, **request)
                assert answer.is_success, answer.text
                return answer.json()
            except (httpx.TransportError, OSError):
                await asyncio.sleep(_AGAIN_S)

    async def watch(self, run: str) -> tuple[list[Any], dict[str, Any]]:
        """All events of a run and its end, as somebody sees them who stays to the last.

        Whenever the stream breaks it is taken up after the last event that came.
        """
        seen: list[Any] = []
        while True:
            last = {"last-event-id": str(seen[-1]["seq"])} if seen else {}
            try:
                async for kind, data in self._stream(f"/v1/runs/{run}/events", last):
                    if kind == "end":
                        return seen, data
                    seen.append(data)
            except (httpx.TransportError, OSError):
                pass
            await asyncio.sleep(_AGAIN_S)

    async def _stream(self, path: str, last: dict[str, str]) -> AsyncIterator[tuple[str, Any]]:
        headers = {"accept": "text/event-stream", **last}
        async with self.client() as client, client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == httpx.codes.OK
            one: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    one[name] = value
                elif "data" in one:
                    yield one["event"], json.loads(one["data"])
                    one = {}

    def _log(self, part: Part) -> Path:
        return self.logs / part.value

    def client(self, address: str | None = None) -> httpx.AsyncClient:
        """Of the API, wherever it is now; or of another part."""
        address = address or address_file(self.home).read_text().strip()
        token = token_file(self.home).read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=address, headers=headers, timeout=60, trust_env=False)


@contextlib.contextmanager
def a_trio(home: Path, environ: Mapping[str, str]) -> Iterator[Trio]:
    """Processes over that home; what still runs at the end is killed."""
    with tempfile.TemporaryDirectory() as logs:
        trio = Trio(home, {**environ, "VSC_HOME": str(home)}, Path(logs))
        try:
            yield trio
        finally:
            for part in trio.running:
                trio.kill(part)

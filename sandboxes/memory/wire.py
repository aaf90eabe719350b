"""The client's side of the engine's socket."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sandboxes.errors import (
    ImageMissing,
    NameTaken,
    ProviderUnavailable,
    SandboxError,
    SandboxStartFailed,
    SandboxUnknown,
)
from sandboxes.memory.server import LINE_BYTES, SOCKET

_ERRORS: dict[str, type[SandboxError]] = {
    error.__name__: error for error in (ImageMissing, NameTaken, SandboxStartFailed, SandboxUnknown)
}


class Line:
    """One connection: requests in order."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer_s: float
    ) -> None:
        self._reader, self._writer, self._answer_s = reader, writer, answer_s

    async def ask(self, verb: str, *, longer_s: float = 0.0, **fields: object) -> dict[str, Any]:
        """The engine's answer, within the client's patience and `longer_s` on top.

        Raises what the engine says of the sandbox, or ProviderUnavailable.
        """
        request = json.dumps({"verb": verb, **fields}).encode() + b"\n"
        try:
            async with asyncio.timeout(self._answer_s + longer_s):
                self._writer.write(request)
                await self._writer.drain()
                line = await self._reader.readline()
        except (OSError, TimeoutError) as error:
            raise _away(error) from error
        if not line.endswith(b"\n"):
            raise _away("it hung up")
        document = json.loads(line)
        if (name := document.get("error")) is None:
            answer: dict[str, Any] = document["answer"]
            return answer
        if name in _ERRORS:
            raise _ERRORS[name](*document["fields"])
        raise ProviderUnavailable(f"the in-memory engine failed: {name}: {document['fields']}")


@asynccontextmanager
async def line(home: Path, answer_s: float) -> AsyncIterator[Line]:
    """A connection to the engine of `home`. Raises ProviderUnavailable."""
    try:
        async with asyncio.timeout(answer_s):
            reader, writer = await asyncio.open_unix_connection(home / SOCKET, limit=LINE_BYTES)
    except (OSError, TimeoutError) as error:
        raise _away(error) from error
    try:
        yield Line(reader, writer, answer_s)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _away(why: object) -> ProviderUnavailable:
    said = str(why) or type(why).__name__
    return ProviderUnavailable(
        f"the in-memory engine does not answer ({said}); start it: "
        "`python -m sandboxes.memory --home DIRECTORY`"
    )

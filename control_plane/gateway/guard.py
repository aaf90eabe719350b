"""The caps of a connection that uvicorn has no word for: how many, and how long until a head is in.

uvicorn's own parser gets a connection when its first head is complete; until then only this sees
it. Each connection carries one request (the application closes it), so there is no second head.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from control_plane.gateway.caps import DoorCaps

_HEAD_ENDS = re.compile(rb"\n\r?\n")
_FULL = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connections:
    """The connections of one door's HTTP socket."""

    def __init__(self, caps: DoorCaps, parser: Callable[..., asyncio.Protocol]) -> None:
        self._caps, self._parser = caps, parser
        self._open: set[asyncio.Transport] = set()
        self._waiting: set[asyncio.Transport] = set()

    def protocol(self, **given: Any) -> asyncio.Protocol:  # noqa: ANN401 -- uvicorn's to its parser
        """What uvicorn's `http` setting wants: a protocol for one connection."""
        return _Guard(self, self._caps, lambda: self._parser(**given))

    def abort_waiting(self) -> None:
        """Cut what has not come to a request; uvicorn ends the others itself."""
        for transport in list(self._waiting):
            transport.abort()

    def abort_all(self) -> None:
        """Cut everything."""
        for transport in list(self._open):
            transport.abort()

    def enters(self, transport: asyncio.Transport) -> bool:
        """Whether there is room for this one."""
        if len(self._open) >= self._caps.connections:
            return False
        self._open.add(transport)
        self._waiting.add(transport)
        return True

    def asks(self, transport: asyncio.Transport) -> None:
        """Its head is in."""
        self._waiting.discard(transport)

    def leaves(self, transport: asyncio.Transport) -> None:
        """It is gone."""
        self._waiting.discard(transport)
        self._open.discard(transport)


class _Guard(asyncio.Protocol):
    """One connection: waits for the head, then passes everything on to the parser."""

    def __init__(
        self, all_: Connections, caps: DoorCaps, parser: Callable[[], asyncio.Protocol]
    ) -> None:
        self._all, self._caps, self._make_parser = all_, caps, parser
        self._seen = b""
        self._transport: asyncio.Transport | None = None
        self._parser: asyncio.Protocol | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream socket is read and written")
        if not self._all.enters(transport):
            transport.write(_FULL)
            transport.close()
            return
        self._transport = transport
        self._wait(self._caps.first_byte_s)

    def data_received(self, data: bytes) -> None:
        if self._parser is not None:
            self._parser.data_received(data)
        elif self._transport is not None:
            if not self._seen:  # a head is not prolonged by another byte of it
                self._wait(self._caps.head_s)
            self._seen += data
            if _HEAD_ENDS.search(self._seen) or len(self._seen) > self._caps.head_bytes:
                self._hand_over(self._transport)

    def eof_received(self) -> bool | None:
        if self._parser is None and self._transport is not None and self._seen:
            self._hand_over(self._transport)  # it may be something to refuse
        return None if self._parser is None else self._parser.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._transport is not None:
            self._all.leaves(self._transport)
        if self._parser is not None:
            self._parser.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._parser is not None:
            self._parser.pause_writing()

    def resume_writing(self) -> None:
        if self._parser is not None:
            self._parser.resume_writing()

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self._all.asks(transport)
        self._wait(self._caps.connection_s)
        self._parser = self._make_parser()
        self._parser.connection_made(transport)
        self._parser.data_received(self._seen)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        if self._transport is not None:
            self._patience = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

"""Drains the driver's pipes for as long as anybody holds them, so that no writer ever waits.

Keeps what the caps allow.
"""

import os
import selectors
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

_READ_BYTES = 256 * 2**10
_MARKER_BYTES = 256
"""Kept back from a stream of lines, so that its marker still fits under the cap."""


class Taker(Protocol):
    """Takes the bytes of one pipe, in order, on the pump's thread."""

    def take(self, data: bytes) -> None:
        """Take the next bytes, and never wait."""


class CappedLog:
    """Keeps the first `cap` bytes, whatever they are, and counts the rest."""

    def __init__(self, cap: int, keep: Callable[[bytes], None]) -> None:
        self._room, self._keep = cap, keep
        self.dropped = 0

    def take(self, data: bytes) -> None:
        """Keep what fits."""
        kept = data[: self._room]
        self._room -= len(kept)
        self.dropped += len(data) - len(kept)
        if kept:
            self._keep(kept)


class CappedLines:
    """Keeps whole lines up to `cap` bytes.

    A reader sees either everything or, as the last line, the words of `marker`.

    What is kept passes on as it comes, also in the middle of a line: a slow writer's event is not
    held back.
    """

    def __init__(
        self, cap: int, keep: Callable[[bytes], None], marker: Callable[[int], bytes]
    ) -> None:
        self._room, self._keep, self._marker = max(0, cap - _MARKER_BYTES), keep, marker
        self._line_open = False
        self.dropped = 0

    def take(self, data: bytes) -> None:
        """Keep the lines that fit; after the first that does not, none."""
        if self.dropped or not data:
            self.dropped += len(data)
            return
        kept = data
        if len(data) > self._room:
            kept = data[: data.rfind(b"\n", 0, self._room) + 1]
            self.dropped = len(data) - len(kept)
        self._room -= len(kept)
        if kept:
            self._line_open = not kept.endswith(b"\n")
            self._keep(kept)

    def finish(self) -> None:
        """Say that lines are missing, where lines are missing."""
        if self.dropped:
            self._keep((b"\n" if self._line_open else b"") + self._marker(self.dropped) + b"\n")


class Capture:
    """Keeps at most `cap` bytes in memory, for the driver's own report."""

    def __init__(self, cap: int) -> None:
        self._kept = bytearray()
        self._log = CappedLog(cap, self._kept.extend)

    def take(self, data: bytes) -> None:
        """Keep what fits."""
        self._log.take(data)

    def lines(self) -> list[bytes]:
        """The whole lines that were kept."""
        return bytes(self._kept).split(b"\n")[:-1]


class Pump(threading.Thread):
    """One thread for all pipes. It ends when the last holder of the last write end is gone."""

    def __init__(self, takers: Mapping[int, Taker]) -> None:
        super().__init__(name="pump", daemon=True)
        self._takers = takers

    def run(self) -> None:
        """Read until every pipe has ended."""
        with selectors.DefaultSelector() as selector:
            for fd, taker in self._takers.items():
                selector.register(fd, selectors.EVENT_READ, taker)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, _READ_BYTES)
                    if data:
                        key.data.take(data)
                    else:
                        selector.unregister(key.fd)
                        os.close(key.fd)

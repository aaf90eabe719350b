"""A port of the sandbox's own localhost, byte for byte to the door's Unix sockets and back.

CONNECT goes to the one for egress, where there is one, and everything else to the other.

One thread of the supervisor, so that the code in the sandbox can neither stop nor replace it: a
child process of the same uid could be killed, and PID 1 cannot. Connections and buffers are
bounded; whoever comes above the bound waits in the backlog.
"""

import contextlib
import selectors
import socket
import threading
from pathlib import Path

from runners.protocol import EGRESS_SOCKET

_BUFFER_BYTES = 256 * 2**10
_READ_BYTES = 64 * 2**10
_MAX_CONNECTIONS = 64
_CONNECT = b"CONNECT "


class Relay(threading.Thread):
    """Listens from construction on (so the driver finds the port open); serves from `start` on."""

    def __init__(self, port: int, door: Path, max_connections: int = _MAX_CONNECTIONS) -> None:
        super().__init__(name="relay", daemon=True)
        self._door, self._max = door, max_connections
        self._selector = selectors.DefaultSelector()
        self._open = 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            for key, events in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    key.data.ready(key.fileobj, events)

    def ended(self) -> None:
        """A pair is gone; the next may come in."""
        self._open -= 1
        if self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ)

    def pair(self, caller: socket.socket, seen: bytes) -> None:
        """Connect a caller that has begun to speak to the socket that its words are meant for."""
        door = socket.socket(socket.AF_UNIX)
        try:
            door.settimeout(2.0)
            door.connect(self._socket_for(seen))
            door.setblocking(False)
        except OSError:
            caller.close()  # the door is away: the caller sees an end, and may try again
            door.close()
            self.ended()
            return
        _Pair(self, self._selector, caller, door, seen)

    def _socket_for(self, seen: bytes) -> str:
        egress = self._door.with_name(EGRESS_SOCKET)
        leaves = seen.startswith(_CONNECT) and egress.is_socket()
        return str(egress if leaves else self._door)

    def _accept(self) -> None:
        with contextlib.suppress(
            OSError
        ):  # the caller has gone, or we are out of descriptors: it may come again
            caller, _ = self._listener.accept()
            caller.setblocking(False)
            self._open += 1
            _Caller(self, self._selector, caller)
            if self._open >= self._max:
                self._selector.unregister(self._listener)


class _Caller:
    """A connection of which it is not known yet where it leads."""

    def __init__(
        self, relay: Relay, selector: selectors.BaseSelector, caller: socket.socket
    ) -> None:
        self._relay, self._selector, self._caller, self._seen = relay, selector, caller, b""
        selector.register(caller, selectors.EVENT_READ, self)

    def ready(self, _: object, __: int) -> None:
        """Read until its first bytes say whether it is a CONNECT."""
        try:
            data = self._caller.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._seen += data
        if data and _CONNECT.startswith(self._seen) and self._seen != _CONNECT:
            return  # it may become one
        self._selector.unregister(self._caller)
        if self._seen:
            self._relay.pair(self._caller, self._seen)
        else:
            self._caller.close()
            self._relay.ended()


class _Pair:
    """Two sockets, each with the bytes that wait for it.

    A half that is closed for writing stays open for reading.
    """

    def __init__(
        self,
        relay: Relay,
        selector: selectors.BaseSelector,
        caller: socket.socket,
        door: socket.socket,
        seen: bytes,
    ) -> None:
        self._relay, self._selector = relay, selector
        self._other = {caller: door, door: caller}
        self._waiting = {caller: bytearray(), door: bytearray(seen)}
        self._reading = {caller, door}
        self._shut: set[socket.socket] = set()
        self._closed = False
        for side in self._other:
            selector.register(side, selectors.EVENT_READ, self)
        self._write(door)
        self._watch()

    def ready(self, side: object, events: int) -> None:
        """Move what can be moved."""
        if self._closed or not isinstance(
            side, socket.socket
        ):  # closed by an earlier event of the same round
            return
        if events & selectors.EVENT_READ and side in self._reading:
            self._read(side)
        if events & selectors.EVENT_WRITE:
            self._write(side)
        self._watch()

    def _read(self, side: socket.socket) -> None:
        try:
            data = side.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a reset: nothing more comes from there
        if data:
            self._waiting[self._other[side]] += data
            self._write(self._other[side])
        else:
            self._reading.discard(side)

    def _write(self, side: socket.socket) -> None:
        waiting = self._waiting[side]
        try:
            while waiting:
                del waiting[: side.send(waiting)]
        except BlockingIOError:
            return
        except (
            OSError
        ):  # it takes no more, yet its last words may still be on their way to the other side
            waiting.clear()
            self._shut.add(side)
            self._reading.discard(self._other[side])

    def _watch(self) -> None:
        """Ask for the events that can lead on; shut what is through.

        End when both directions are.
        """
        for side, other in self._other.items():
            if other not in self._reading and not self._waiting[side] and side not in self._shut:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_WR)
                self._shut.add(side)
        if len(self._shut) == 2:
            self._close()
            return
        for side, other in self._other.items():
            wanted = selectors.EVENT_WRITE if self._waiting[side] else 0
            if side in self._reading and len(self._waiting[other]) < _BUFFER_BYTES:
                wanted |= selectors.EVENT_READ
            self._ask(side, wanted)

    def _ask(self, side: socket.socket, wanted: int) -> None:
        known = side in self._selector.get_map()
        if known and wanted:
            self._selector.modify(side, wanted, self)
        elif known:
            self._selector.unregister(side)
        elif wanted:
            self._selector.register(side, wanted, self)

    def _close(self) -> None:
        self._closed = True
        for side in self._other:
            if side in self._selector.get_map():
                self._selector.unregister(side)
            side.close()
        self._relay.ended()

"""The door of a sandbox: one Unix socket in a directory of its own, and the directory *is* the identity.

Whoever can connect is that sandbox; nothing in a request says who speaks. CONNECT goes to our own
proxy (uvicorn cannot), everything else to uvicorn's HTTP/1.1 parser.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.ports import AuditSink, ChunkSink, DoorAccess, OutputSink
from control_plane.gateway.tunnel import Egress, Resolve, resolve
from control_plane.gateway.verbs import Verbs, door_application

SOCKET_NAME = "door.sock"
_CONNECT = b"CONNECT "


class Doors:
    """Every door that is open in this process."""

    def __init__(
        self,
        chunks: ChunkSink,
        outputs: OutputSink,
        audit: AuditSink,
        caps: DoorCaps | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        self._chunks, self._outputs, self._audit, self._resolver = chunks, outputs, audit, resolver
        self._caps = caps or DoorCaps()
        self._doors: dict[str, _Door] = {}
        self._config = _http_config(self._caps)

    async def open(self, name: str, directory: Path, access: DoorAccess) -> None:
        """Listen in `directory`, which only we may write; it is made if it is not there.

        A socket that a dead control plane left is replaced; opening an open door again gives it the
        new access. Log streams go on where the sink says that they stand.

        Raises:
            ValueError: the directory is not safe to listen in, or the access makes no sense.
            Malformed: an allowlist entry cannot be read.
        """
        await self.close(name)
        positions = await self._chunks.positions(access.sandbox_id)
        verbs = Verbs(access, self._caps, self._chunks, self._outputs, positions)
        door = _Door(
            verbs, Egress(access, self._audit, self._caps, self._resolver), self._config, self._caps
        )
        await asyncio.to_thread(directory.mkdir, mode=0o755, parents=True, exist_ok=True)
        await door.listen(directory)
        self._doors[name] = door

    async def close(self, name: str) -> None:
        """End every connection and remove the socket. Twice is harmless."""
        door = self._doors.pop(name, None)
        if door is not None:
            await door.close()

    async def close_all(self) -> None:
        """End everything, as at shutdown.

        Sandboxes that live on find a new socket when the control plane is back.
        """
        await asyncio.gather(*(self.close(name) for name in list(self._doors)))


@dataclass(eq=False)
class _Door:
    verbs: Verbs
    egress: Egress
    config: Config
    caps: DoorCaps
    state: ServerState = field(default_factory=ServerState)
    connections: set[asyncio.BaseTransport] = field(default_factory=set)
    tunnels: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _directory: Path | None = None
    _inode: int = 0

    async def listen(self, directory: Path) -> None:
        listener, self._inode = bind_in(directory)
        self._directory = directory
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Greeter(self), sock=listener, backlog=self.caps.connections
        )

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self.state.tasks:
            await asyncio.wait(self.state.tasks, timeout=self.caps.close_s)
        leftover = [*self.tunnels, *self.state.tasks]
        for transport in list(self.connections):
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)
        if self._directory is not None:
            unlink_from(self._directory, self._inode)


class _Greeter(asyncio.Protocol):
    """Looks at a connection's first bytes and hands it to the parser they are meant for."""

    def __init__(self, door: _Door) -> None:
        self._door, self._seen = door, b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a Unix stream socket is read and written")
        if len(self._door.connections) >= self._door.caps.connections:
            transport.write(
                b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            transport.close()
            return
        self._transport = transport
        self._door.connections.add(transport)
        self._wait(self._door.caps.first_byte_s)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if not self._seen:
            self._wait(self._door.caps.head_s)
        self._seen += data
        if self._seen.startswith(_CONNECT):
            self._to_tunnel(self._transport)
        elif not _CONNECT.startswith(self._seen):
            self._to_http(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the protocol's signature
        self._stop_waiting()
        if self._transport is not None:
            self._door.connections.discard(self._transport)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        if self._transport is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _to_tunnel(self, transport: asyncio.Transport) -> None:
        self._stop_waiting()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._door.caps.head_bytes, loop=loop)
        protocol = _TunnelProtocol(reader, self._door)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._seen)
        task = loop.create_task(
            self._tunnel(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        )
        self._door.tunnels.add(task)
        task.add_done_callback(self._door.tunnels.discard)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._door.egress.serve(reader, writer)
        finally:
            writer.close()

    def _to_http(self, transport: asyncio.Transport) -> None:
        self._stop_waiting()
        protocol = _DoorHttp(self._door)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._seen)


class _TunnelProtocol(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader, door: _Door) -> None:
        super().__init__(reader)
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._mine = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.connections.discard(self._mine)
        super().connection_lost(exc)


class _DoorHttp(H11Protocol):
    """uvicorn's parser with patience that ends: a head and a body must keep coming."""

    def __init__(self, door: _Door) -> None:
        super().__init__(door.config, door.state, {"door": door.verbs})
        self.access_log = (
            False  # paths are hostile text, and a line per chunk tells nobody anything
        )
        self._door = door
        self._patience: asyncio.TimerHandle | None = None
        self._in_head = False

    def data_received(self, data: bytes) -> None:
        between = self.cycle is None or self.cycle.response_complete
        super().data_received(data)
        if self.transport.is_closing():
            self._calm()
        elif self.cycle is None or self.cycle.response_complete:
            if between and not self._in_head:  # a head is not prolonged by another byte of it
                self._in_head = True
                self._expect(self._door.caps.head_s)
        else:
            self._in_head = False
            self._expect(self._door.caps.body_idle_s) if self.cycle.more_body else self._calm()

    def on_response_complete(self) -> None:
        self._in_head = False
        self._calm()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        self._door.connections.discard(self.transport)
        super().connection_lost(exc)

    def _expect(self, seconds: float) -> None:
        self._calm()
        self._patience = self.loop.call_later(seconds, self.transport.abort)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def bind_in(directory: Path) -> tuple[socket.socket, int]:
    """A listening socket at `door.sock` in `directory`, and its inode.

    It is bound through `/proc/self/fd`: a Unix address has 108 bytes, a directory's path has no
    such limit. Mode 0666 lets the sandbox's uid connect; other users of the machine are kept out by
    the directory's parent.
    """
    with _opened(directory) as descriptor:
        facts = os.fstat(descriptor)
        if facts.st_uid != os.geteuid():
            raise ValueError(
                f"{directory} belongs to uid {facts.st_uid}; a door's directory is the control plane's own"
            )
        os.fchmod(
            descriptor, 0o755
        )  # the sandbox enters it and cannot put a socket of its own there
        _unlink_socket(descriptor, None)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            path = f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
            listener.bind(path)
            Path(path).chmod(0o666)
            return listener, Path(path).stat().st_ino
        except BaseException:
            listener.close()
            raise


def unlink_from(directory: Path, inode: int) -> None:
    """Remove our socket.

    One that another control plane has put there since is not ours to remove.
    """
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        _opened(directory) as descriptor,
    ):
        _unlink_socket(descriptor, inode)


def _unlink_socket(descriptor: int, inode: int | None) -> None:
    with contextlib.suppress(FileNotFoundError):
        facts = os.stat(SOCKET_NAME, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISSOCK(facts.st_mode):
            raise ValueError(f"{SOCKET_NAME} is not a socket; somebody else uses this directory")
        if inode is None or facts.st_ino == inode:
            os.unlink(SOCKET_NAME, dir_fd=descriptor)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _http_config(caps: DoorCaps) -> Config:
    return Config(
        door_application(),
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        proxy_headers=False,  # nobody on the other side may say who it is
        server_header=False,
        date_header=False,
        timeout_keep_alive=int(caps.first_byte_s),
        h11_max_incomplete_event_size=caps.head_bytes,
    )

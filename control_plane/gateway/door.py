"""The door of a sandbox: two sockets in a directory of its own, which *is* the identity.

Whoever can connect is that sandbox; nothing in a request says who speaks. `door.sock` is an
ordinary ASGI application served by uvicorn, `egress.sock` our own listener for CONNECT, which is
there only where the stage may leave.
"""

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from typing import cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from control_plane.gateway.access import DoorAccess
from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.grants import Verb
from control_plane.gateway.guard import Connections
from control_plane.gateway.ports import AuditSink, Capsules, ChunkSink, Submissions
from control_plane.gateway.sockets import BoundSocket, Claim
from control_plane.gateway.tunnel import Egress, Resolve, resolve
from control_plane.gateway.verbs import DoorApplication, Verbs
from sandboxes.doors import EGRESS_SOCKET, HTTP_SOCKET, DoorDirectory


class Doors:
    """Every door that this process serves."""

    def __init__(
        self,
        chunks: ChunkSink,
        capsules: Capsules,
        audit: AuditSink,
        caps: DoorCaps | None = None,
        resolver: Resolve = resolve,
        submissions: Submissions | None = None,
    ) -> None:
        self._submissions = submissions
        self._chunks, self._capsules, self._audit = chunks, capsules, audit
        self._caps, self._resolver = caps or DoorCaps(), resolver
        self._open: dict[str, _Door] = {}

    def names(self) -> set[str]:
        """The sandboxes whose doors are open here."""
        return set(self._open)

    async def open(self, name: str, directory: DoorDirectory, access: DoorAccess) -> None:
        """Listen in `directory`. An open door stays as it is.

        A socket that a dead gateway left is replaced.

        Raises:
            Served: another gateway of this host has this door.
            NoDirectory: the sandbox's side has not made it, or has removed it.
            ValueError: the directory is not safe to listen in.
            Malformed: an allowlist entry cannot be read.
        """
        if name in self._open:
            return
        verbs = Verbs(
            access,
            self._caps,
            self._chunks,
            self._capsules,
            self._audit,
            submissions=self._submissions,
        )
        egress = Egress(access, self._audit, self._caps, self._resolver)
        door = _Door(Claim(directory), verbs, egress)
        self._open[name] = door
        try:
            await door.listen()
        except BaseException:
            del self._open[name]
            await door.close()
            raise

    async def close(self, name: str) -> None:
        """End every connection and remove the sockets. Twice is harmless."""
        door = self._open.pop(name, None)
        if door is not None:
            await door.close()

    async def close_all(self) -> None:
        """End everything, as at shutdown.

        Sandboxes that live on find new sockets when a gateway is back.
        """
        await asyncio.gather(*(self.close(name) for name in list(self._open)))


class _Door:
    def __init__(self, claim: Claim, verbs: Verbs, egress: Egress) -> None:
        self._claim, self._egress, self._verbs = claim, egress, verbs
        self._bound: list[BoundSocket] = []
        self._connections = Connections(verbs.caps, H11Protocol)
        self._http = _HttpServer(
            _http_config(DoorApplication(verbs), self._connections, verbs.caps)
        )
        self._serving: asyncio.Task[None] | None = None
        self._tunnels: asyncio.Server | None = None

    async def listen(self) -> None:
        """Whoever connects from now on is answered: the kernel holds them until uvicorn is up."""
        http = self._bind(HTTP_SOCKET)
        self._serving = asyncio.create_task(self._http.serve(sockets=[http.listener]))
        if Verb.EGRESS in self._verbs.access.verbs:
            self._tunnels = await self._egress.listen(self._bind(EGRESS_SOCKET).listener)

    async def close(self) -> None:
        for bound in self._bound:
            self._claim.unlink(bound)
        if self._tunnels is not None:
            self._tunnels.close()
            await self._egress.cut()
        if self._serving is not None:
            self._http.should_exit = True
            self._connections.abort_waiting()
            await self._serving
            self._connections.abort_all()
        for bound in self._bound:
            bound.listener.close()
        self._claim.release()

    def _bind(self, name: str) -> BoundSocket:
        bound = self._claim.bind(name)
        self._bound.append(bound)
        return bound


class _HttpServer(uvicorn.Server):
    """uvicorn's server as one of many in a process whose signals are somebody else's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def _http_config(
    application: DoorApplication, connections: Connections, caps: DoorCaps
) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        # what uvicorn calls for each connection, with its own parser's arguments
        http=cast("type[asyncio.Protocol]", functools.partial(connections.protocol)),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nobody on the other side may say who it is
        server_header=False,
        date_header=False,
        backlog=caps.connections,
        timeout_graceful_shutdown=caps.close_s,
        h11_max_incomplete_event_size=caps.head_bytes,
    )

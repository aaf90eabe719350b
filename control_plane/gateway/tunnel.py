"""The egress proxy: a CONNECT request is decided, audited, dialled and pumped.

It is dialled at the address that it was resolved to.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import structlog

from control_plane.gateway.access import DoorAccess
from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.egress import (
    Allowed,
    Malformed,
    Target,
    parse_connect,
    refusal,
    rule_for,
)
from control_plane.gateway.ports import AuditSink, TooManyAttempts
from control_plane.public_addresses import IPAddress

Resolve = Callable[[str, int], Awaitable[list[IPAddress]]]

_BLOCK_BYTES = 64 * 2**10
_FULL = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_log = structlog.get_logger(__name__)


class CapReached(Exception):
    """A tunnel used up its bytes, its time, or its patience."""


async def resolve(host: str, port: int) -> list[IPAddress]:
    """Every address of `host`, once; the tunnel dials these and never asks again."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except OSError:
        return []
    return list(dict.fromkeys(ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in found))


class Egress:
    """The CONNECT verb of one door."""

    def __init__(
        self, access: DoorAccess, audit: AuditSink, caps: DoorCaps, resolver: Resolve = resolve
    ) -> None:
        self._access, self._audit, self._caps, self._resolve = access, audit, caps, resolver
        self._allowlist = tuple(Allowed.parse(entry) for entry in access.egress)
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Answer everybody who connects to `listener`."""
        return await asyncio.start_unix_server(
            self._enter,
            sock=listener,
            limit=self._caps.head_bytes,
            backlog=self._caps.connections,
        )

    async def cut(self) -> None:
        """End every tunnel."""
        for writer in self._connections.values():
            writer.transport.abort()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._caps.connections:
            writer.write(_FULL)
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._one(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except Exception:  # noqa: BLE001 -- one connection's trouble is not the listener's
            _log.exception("egress.failed", sandbox=str(self._access.sandbox_id))
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, to its end."""
        try:
            async with asyncio.timeout(self._caps.head_s):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            await _answer(writer, 400, "the request's head did not end in time or within its limit")
            return
        try:
            target = parse_connect(head)
        except Malformed as problem:
            if await self._audited(
                _printable(head), allowed=False, rule=f"malformed: {problem}", writer=writer
            ):
                await _answer(writer, 400, str(problem))
            return
        upstream = await self._admit(target, writer)
        if upstream is not None:
            await self._pump(reader, writer, *upstream)

    async def _admit(
        self, target: Target, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        rule = rule_for(target, self._allowlist)
        if rule is None:
            if await self._audited(
                str(target), allowed=False, rule="not in the allowlist", writer=writer
            ):
                await _answer(writer, 403, f"{target} is not in this run's egress allowlist")
            return None
        addresses = await self._resolve(target.host, target.port)
        reason = refusal(rule, addresses)
        if not await self._audited(
            str(target), allowed=reason is None, rule=reason or f"allowed: {rule}", writer=writer
        ):
            return None
        if reason is not None:
            await _answer(writer, 403, f"{target}: {reason}")
            return None
        upstream = await self._dial(addresses, target.port)
        if upstream is None:
            await _answer(writer, 502, f"{target} does not answer")
            return None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return upstream

    async def _audited(
        self, destination: str, *, allowed: bool, rule: str, writer: asyncio.StreamWriter
    ) -> bool:
        """Put the attempt on record; what cannot be recorded is not let through."""
        try:
            await self._audit.egress(
                self._access.run_id,
                self._access.sandbox_id,
                destination,
                allowed=allowed,
                rule=rule,
                most=self._caps.egress_attempts,
            )
        except TooManyAttempts as problem:
            await _answer(writer, 429, str(problem))
            return False
        except Exception:  # noqa: BLE001 -- whatever kept it from being recorded, the answer is no
            _log.exception("egress.audit_failed", sandbox=str(self._access.sandbox_id))
            await _answer(writer, 503, "the attempt could not be recorded; try again")
            return False
        return True

    async def _dial(
        self, addresses: list[IPAddress], port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for address in addresses:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._caps.dial_s):
                    return await asyncio.open_connection(str(address), port)
        return None

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        caps = self._caps
        try:
            async with asyncio.timeout(caps.tunnel_total_s), asyncio.TaskGroup() as both:
                activity = _Activity(asyncio.get_running_loop())
                both.create_task(
                    _copy(reader, far_writer, caps.tunnel_up_bytes, caps.tunnel_idle_s, activity)
                )
                both.create_task(
                    _copy(far_reader, writer, caps.tunnel_down_bytes, caps.tunnel_idle_s, activity)
                )
        except* (CapReached, TimeoutError) as reasons:
            _log.warning(
                "egress.cut",
                sandbox=str(self._access.sandbox_id),
                reason=str(reasons.exceptions[0]),
            )
            writer.transport.abort()
        except* OSError:
            writer.transport.abort()
        finally:
            far_writer.transport.abort() if writer.transport.is_closing() else far_writer.close()


class _Activity:
    """When either direction last moved: a download is silent upwards for long without idling."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._at = loop, loop.time()

    def touch(self) -> None:
        self._at = self._loop.time()

    @property
    def idle_s(self) -> float:
        return self._loop.time() - self._at


async def _copy(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    max_bytes: int,
    idle_s: float,
    activity: _Activity,
) -> None:
    """Pass bytes on until the end, then pass the end on (half-close)."""
    copied = 0
    while block := await _read(source, idle_s, activity):
        activity.touch()
        copied += len(block)
        if copied > max_bytes:
            raise CapReached(f"more than {max_bytes} bytes in one direction")
        sink.write(block)
        async with asyncio.timeout(idle_s):
            await sink.drain()
    with contextlib.suppress(OSError):  # the other side may have gone altogether
        sink.write_eof()


async def _read(source: asyncio.StreamReader, idle_s: float, activity: _Activity) -> bytes:
    while True:
        try:
            async with asyncio.timeout(max(0.01, idle_s - activity.idle_s)):
                return await source.read(_BLOCK_BYTES)
        except TimeoutError:
            if activity.idle_s >= idle_s:
                raise CapReached(f"silent for {idle_s} s") from None


async def _answer(writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    phrases = {
        400: "Bad Request",
        403: "Forbidden",
        429: "Too Many Requests",
        502: "Bad Gateway",
        503: "Unavailable",
    }
    body = f"{reason}\n".encode("ascii", "backslashreplace")
    writer.write(
        f"HTTP/1.1 {status} {phrases[status]}\r\ncontent-type: text/plain\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
        + body
    )
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            await writer.drain()


def _printable(head: bytes) -> str:
    """The request line of hostile bytes, short and harmless enough for an audit row."""
    return (
        head.split(b"\n", 1)[0][:200]
        .decode("ascii", "backslashreplace")
        .encode("unicode_escape")
        .decode("ascii")
    )

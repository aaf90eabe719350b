"""Log chunks and test events through the door: numbered, sent again until acknowledged.

Memory is bounded by the callers' caps: what is offered was counted before. Nothing here can delay
the end past `close(until)`.
"""

import base64
import contextlib
import json
import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from runners.protocol import MAX_CHUNK_BYTES, Stream

_BATCH_CHUNKS = 10  # of 64 KiB each, in base64: under the door's 1 MiB
_GATHER_S = ((1_000, 0.05), (6_000, 1.0), (0, 10.0))
"""How long bytes gather before they are sent: up to so many requests, so many seconds.

The door keeps 10,000 pieces of a stream; a log that drips for hours fits as well as a short one.
"""
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_ANSWER_S = 10.0
_ANSWER_BYTES = 64 * 2**10
_RETRY = {408, 425, 429}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A numbered piece of one stream."""

    stream: Stream
    seq: int
    data: bytes


class DoorAway(Exception):
    """Nobody answered, or not sensibly; the control plane may be starting again.

    Send again later.
    """


class StreamFull(Exception):
    """The door has as much of a stream as it takes; the other streams go on."""


class DoorRefuses(Exception):
    """The door answered and does not want this; sending it again changes nothing."""


class Uplink(threading.Thread):
    """Sends what it is offered, in order, on a thread of its own."""

    def __init__(self, door: Path) -> None:
        super().__init__(name="uplink", daemon=True)
        self._door = str(door)
        self._changed = threading.Condition()
        self._waiting: dict[Stream, bytearray] = {}
        self._unacknowledged: deque[Chunk] = deque()
        self._next_seq: dict[Stream, int] = {}
        self._given_up: dict[Stream, bytearray] = {}
        self._batch_chunks = _BATCH_CHUNKS
        self._sent = 0
        self._closing = False
        self._gives_up = float("inf")
        self.trouble = ""
        """Why sending stopped for good, if it did."""

    def offer(self, stream: Stream, data: bytes) -> None:
        """Queue bytes; never waits for the door."""
        with self._changed:
            queue = self._given_up if stream in self._given_up else self._waiting
            queue.setdefault(stream, bytearray()).extend(data)
            self._changed.notify()

    def close(self, until: float) -> dict[Stream, bytes]:
        """Send the rest, at the latest until `until` (monotonic seconds).

        What could not be sent comes back.
        """
        with self._changed:
            self._closing, self._gives_up = True, until
            self._changed.notify()
        self.join(max(0.0, until - time.monotonic()))
        with self._changed:
            unsent = self._given_up
            for chunk in self._unacknowledged:
                unsent.setdefault(chunk.stream, bytearray()).extend(chunk.data)
            for stream, data in self._waiting.items():
                unsent.setdefault(stream, bytearray()).extend(data)
            return {stream: bytes(data) for stream, data in unsent.items() if data}

    def run(self) -> None:
        """Send until closed and empty, until the time is over, or the door refuses for good."""
        failures = 0
        while batch := self._batch():
            try:
                self._acknowledge(_post(self._door, batch))
                failures = 0
                self._sent += 1
            except DoorAway:
                pause = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                failures += 1
                if time.monotonic() + pause >= self._gives_up:
                    return
                time.sleep(pause)
            except StreamFull as full:
                self.trouble = str(full)
                self._set_aside(batch)
            except DoorRefuses as refusal:
                self.trouble = str(refusal)
                return

    def _batch(self) -> list[Chunk]:
        """The next chunks to send, the oldest first; empty when closed and all is sent."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or self._unacknowledged or any(self._waiting.values())
            )
            if not self._closing and not self._unacknowledged:
                self._changed.wait_for(  # let a line or two more come along
                    lambda: self._closing or self._waits_for_more_than_a_batch(),
                    gather_s(self._sent),
                )
            self._cut()
            return list(self._unacknowledged)[: self._batch_chunks]

    def _waits_for_more_than_a_batch(self) -> bool:
        return sum(map(len, self._waiting.values())) >= _BATCH_CHUNKS * MAX_CHUNK_BYTES

    def _cut(self) -> None:
        """Number what waits, as far as the next batch needs it.

        A number once given is never given to other bytes.
        """
        for stream, data in self._waiting.items():
            while data and len(self._unacknowledged) < _BATCH_CHUNKS:
                seq = self._next_seq.get(stream, 0)
                self._unacknowledged.append(Chunk(stream, seq, bytes(data[:MAX_CHUNK_BYTES])))
                self._next_seq[stream] = seq + 1
                del data[:MAX_CHUNK_BYTES]

    def _set_aside(self, batch: list[Chunk]) -> None:
        """One of the batch's streams is full: find out which, chunk by chunk, and end it."""
        if len(batch) > 1:
            self._batch_chunks = 1
            return
        full = batch[0].stream
        with self._changed:
            self._given_up[full] = bytearray().join(
                c.data for c in self._unacknowledged if c.stream == full
            )
            self._given_up[full] += self._waiting.pop(full, b"")
            self._unacknowledged = deque(c for c in self._unacknowledged if c.stream != full)
        self._batch_chunks = _BATCH_CHUNKS

    def _acknowledge(self, awaited: dict[str, int]) -> None:
        with self._changed:
            first: dict[Stream, int] = {}
            for chunk in self._unacknowledged:
                first.setdefault(chunk.stream, chunk.seq)
            for stream, seq in first.items():
                if awaited.get(stream, seq) < seq:
                    raise DoorRefuses(
                        f"the door lost chunks of {stream}: it awaits {awaited[stream]},"
                        f" {seq} is the oldest kept"
                    )
            kept = deque(
                chunk for chunk in self._unacknowledged if chunk.seq >= awaited.get(chunk.stream, 0)
            )
            if len(kept) == len(self._unacknowledged):
                raise DoorAway  # an answer that acknowledges nothing: later, not in a tight loop
            self._unacknowledged = kept


class Echo(threading.Thread):
    """The way without a door: the driver's output goes to our own, for the engine's log to keep.

    Test events have no place there.
    """

    def __init__(self) -> None:
        super().__init__(name="echo", daemon=True)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Stream, bytes]] = deque()
        self._closing = False

    def offer(self, stream: Stream, data: bytes) -> None:
        """Queue bytes; never waits for the engine."""
        with self._changed:
            self._waiting.append((stream, data))
            self._changed.notify()

    def close(self, until: float) -> dict[Stream, bytes]:
        """Write the rest, at the latest until `until`; what could not be written comes back."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self.join(max(0.0, until - time.monotonic()))
        with self._changed:
            unsent: dict[Stream, bytes] = {}
            for stream, data in self._waiting:
                unsent[stream] = unsent.get(stream, b"") + data
            return unsent

    def run(self) -> None:
        """Write in order until closed and empty."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting)
                if not self._waiting:
                    return
                stream, data = self._waiting[0]
            try:
                if stream != "tests":
                    _write_all(1 if stream == "stdout" else 2, data)
            except OSError:
                return  # nobody listens; the rest is counted as unsent
            with self._changed:
                self._waiting.popleft()


def gather_s(sent: int) -> float:
    """How long to gather after so many requests."""
    return next((seconds for until, seconds in _GATHER_S if sent < until), _GATHER_S[-1][1])


def _post(door: str, batch: list[Chunk]) -> dict[str, int]:
    """Send one batch; the numbers that the door awaits next.

    Raises DoorAway, StreamFull or DoorRefuses.
    """
    chunks = [
        {"stream": c.stream, "seq": c.seq, "data": base64.b64encode(c.data).decode()} for c in batch
    ]
    status, body = _exchange(door, json.dumps({"chunks": chunks}).encode())
    if status >= 500 or status in _RETRY:
        raise DoorAway
    if status == 413:
        raise StreamFull(f"the door takes no more of a stream: {body[:200]!r}")
    awaited = _awaited(body)
    if awaited is None or status not in (200, 409):
        raise DoorRefuses(f"the door answered {status} to log chunks: {body[:200]!r}")
    return awaited


def _exchange(door: str, body: bytes) -> tuple[int, bytes]:
    """One request, one connection.

    By hand: the library's HTTP client brings TLS and mail along, a third of a sandbox's start.
    """
    head = (
        "POST /chunks HTTP/1.1\r\nHost: door\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(door)
            with contextlib.suppress(
                BrokenPipeError
            ):  # it may have answered before it has read everything
                connection.sendall(head.encode() + body)
            while len(answer) < _ANSWER_BYTES and (data := connection.recv(_ANSWER_BYTES)):
                answer += data
    except OSError as error:
        raise DoorAway from error
    return _parse(answer)


def _parse(answer: bytes) -> tuple[int, bytes]:
    """Status and body. Raises DoorAway for an answer that is cut short or not one."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    try:
        version, status = first.split(" ")[:2]
        length = int(headers["content-length"])
    except (ValueError, KeyError) as error:
        raise DoorAway from error
    if not version.startswith("HTTP/1.") or len(body) < length:
        raise DoorAway
    return int(status) if status.isdigit() else 500, body[:length]


def _awaited(body: bytes) -> dict[str, int] | None:
    try:
        document = json.loads(body)
        document = (
            document.get("detail", document) if "next" not in document else document
        )  # how some frameworks wrap a 409
        return {str(stream): int(seq) for stream, seq in document["next"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

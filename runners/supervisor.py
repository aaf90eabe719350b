"""PID 1 of a sandbox: starts the driver, keeps its deadline, carries its words out, leaves last.

When the result is written, no process of the sandbox but this one lives.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners import process, protocol
from runners.capsule import BadCapsule, read_capsule
from runners.drivers import drive
from runners.outbox import Outbox
from runners.protocol import Capsule, Outcome, Result, Stream, ToolResult
from runners.pump import CappedLines, CappedLog, Capture, Pump
from runners.surroundings import Surroundings
from runners.uplink import Echo, Uplink

if TYPE_CHECKING:
    from runners.relay import Relay

_EXIT_CODE: dict[Outcome, int] = {
    "exited": 0,
    "signaled": 0,
    "deadline": 124,
    "refused": 125,
    "terminated": 143,
}
_TERM_SHARE = 0.6
"""Part of the grace that the driver gets between TERM and KILL.

The rest is for the log's last bytes and the result.
"""
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
_REPORT_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are; in a sandbox always as the protocol says."""

    capsule: Path = Path(protocol.CAPSULE)
    workspace: Path = Path(protocol.WORKSPACE)
    out: Path = Path(protocol.OUT)
    door: Path = Path(protocol.DOOR)
    gateway_port: int = protocol.GATEWAY_PORT

    @classmethod
    def below(cls, root: Path) -> "Places":
        """The same places under another root, and any free port: that network is not our own."""
        capsule, workspace = root / protocol.CAPSULE[1:], root / protocol.WORKSPACE[1:]
        out, door = root / protocol.OUT[1:], root / protocol.DOOR[1:]
        return cls(capsule, workspace, out, door, gateway_port=0)


@dataclass(frozen=True, slots=True)
class _Ending:
    outcome: Outcome
    exit_code: int | None = None
    detail: str = ""


def supervise(places: Places) -> int:
    """Run the capsule's driver to its end and say how it ended; the exit code for PID 1."""
    signal.pthread_sigmask(
        signal.SIG_BLOCK, _WATCHED
    )  # before any thread: they inherit it, so only `_watch` sees signals
    try:
        outbox = Outbox(places.out)
    except OSError as error:
        return _refuse(None, f"cannot use {places.out}: {error}")
    try:
        process.hide()
        process.adopt_orphans()
        capsule = read_capsule(places.capsule)
        supervision = _Supervision(capsule, places)
    except (BadCapsule, OSError) as error:
        return _refuse(outbox, str(error))
    return supervision.run(outbox)


def _refuse(outbox: Outbox | None, reason: str) -> int:
    _say(f"refused: {reason}")
    if outbox is not None:
        _write(outbox, Result("refused", None, 0.0, reason))
    return _EXIT_CODE["refused"]


def _relay(places: Places) -> "Relay":
    from runners.relay import Relay  # noqa: PLC0415 -- most sandboxes have none, and each import is part of every start

    return Relay(places.gateway_port, places.door)


class _Supervision:
    """One driver's life. Pipes and relay exist before it, its threads run before it may act."""

    def __init__(self, capsule: Capsule, places: Places) -> None:
        self._capsule = capsule
        door = capsule.door or places.door.is_socket()
        self._carrier: Uplink | Echo = Uplink(places.door) if door else Echo()
        if capsule.relay and not door:
            raise OSError(f"a relay is asked for and there is no door at {places.door}")
        self._relay = _relay(places) if capsule.relay else None
        self._logs: dict[Stream, CappedLog | CappedLines] = {
            "stdout": CappedLog(
                capsule.log_bytes, lambda data: self._carrier.offer("stdout", data)
            ),
            "stderr": CappedLog(
                capsule.log_bytes, lambda data: self._carrier.offer("stderr", data)
            ),
        }
        self._tests = CappedLines(
            capsule.tests_bytes, lambda data: self._carrier.offer("tests", data), _missing_events
        )
        self._logs["tests"] = self._tests
        self._report = Capture(_REPORT_BYTES)
        self._pump, self._go = self._fork(places)
        self._started = 0.0

    def run(self, outbox: Outbox) -> int:
        """From the driver's start to the last word."""
        for thread in (self._pump, self._carrier, self._relay):
            if thread is not None:
                thread.start()
        self._started = time.monotonic()
        os.close(self._go)
        ending = self._watch()
        until = time.monotonic() + self._capsule.grace_s
        duration_s = time.monotonic() - self._started
        alone = self._end(ending)
        self._pump.join(max(0.1, until - time.monotonic()))
        self._tests.finish()
        result = self._result(ending, duration_s, alone=alone)
        _write(outbox, result)  # now, in case the engine does not wait for the rest
        if ending.outcome != "terminated":  # who asked for the end waits for its own grace only
            until += self._capsule.upload_s
        unsent = self._carrier.close(until)
        if unsent:
            dropped = {f"{stream}.unsent": len(data) for stream, data in unsent.items()}
            _write(
                outbox,
                replace(
                    result,
                    dropped_bytes=result.dropped_bytes | dropped,
                    detail=self._with_trouble(result),
                    door_away=self._is_away(),
                ),
            )
            _last_words(unsent)
        return _EXIT_CODE[result.outcome]

    def _fork(self, places: Places) -> tuple[Pump, int]:
        """Start the driver's process. It waits until `go` is closed, when our threads run."""
        pipes = {name: os.pipe() for name in ("stdout", "stderr", "tests", "report", "go")}
        self._driver = os.fork()
        if self._driver == 0:
            for name, (read, write) in pipes.items():
                os.close(write if name == "go" else read)
            writers = {name: write for name, (_, write) in pipes.items()}
            surroundings = Surroundings(
                places.workspace,
                places.out,
                writers["tests"],
                writers["report"],
                self._gateway(),
            )
            drive(
                self._capsule.driver,
                surroundings,
                writers["stdout"],
                writers["stderr"],
                pipes["go"][0],
            )
        for name, (read, write) in pipes.items():
            os.close(read if name == "go" else write)
        takers = {pipes[name][0]: log for name, log in self._logs.items()}
        return Pump({**takers, pipes["report"][0]: self._report}), pipes["go"][1]

    def _gateway(self) -> dict[str, str]:
        return {"VSC_GATEWAY_PORT": str(self._relay.port)} if self._relay is not None else {}

    def _watch(self) -> _Ending:
        """Reap until the driver has ended, its time is over, or the engine asks for the end."""
        deadline = self._started + self._capsule.deadline_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return _Ending(
                    "deadline",
                    detail=f"the driver did not end within {self._capsule.deadline_s:g} s",
                )
            caught = signal.sigtimedwait(_WATCHED, left)
            ended, _ = process.reap()
            if self._driver in ended:
                return _how(ended[self._driver])
            if caught is not None and caught.si_signo != signal.SIGCHLD and _from_outside(caught):
                return _Ending(
                    "terminated", detail=f"asked to end by {signal.Signals(caught.si_signo).name}"
                )

    def _end(self, ending: _Ending) -> bool:
        """End every process; those that outlive the driver by their own wish get no grace."""
        if ending.outcome in ("deadline", "terminated"):
            process.signal_all(signal.SIGTERM)
            term_until = time.monotonic() + self._capsule.grace_s * _TERM_SHARE
            while not process.reap()[1] and (left := term_until - time.monotonic()) > 0:
                signal.sigtimedwait({signal.SIGCHLD}, left)
        return process.kill_until_alone(
            time.monotonic() + max(1.0, self._capsule.grace_s * (1 - _TERM_SHARE))
        )

    def _result(self, ending: _Ending, duration_s: float, *, alone: bool) -> Result:
        tools, words = _read_report(self._report.lines())
        refused = words.get("refused")
        outcome: Outcome = (
            "refused" if refused is not None and ending.outcome == "exited" else ending.outcome
        )
        details = [refused, ending.detail or None, words.get("detail")]
        if not alone:
            details.append("a process did not die of SIGKILL in time")
        return Result(
            outcome,
            None if outcome == "refused" else ending.exit_code,
            round(duration_s, 3),
            "; ".join(detail for detail in details if detail),
            tools,
            {stream: log.dropped for stream, log in self._logs.items() if log.dropped},
        )

    def _is_away(self) -> bool:
        """Whether nobody took the rest: the door is not full, and has refused nothing."""
        return isinstance(self._carrier, Uplink) and not self._carrier.trouble

    def _with_trouble(self, result: Result) -> str:
        trouble = self._carrier.trouble if isinstance(self._carrier, Uplink) else ""
        return "; ".join(part for part in (result.detail, trouble) if part)


def _how(status: int) -> _Ending:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return _Ending("exited", code)
    return _Ending("signaled", detail=f"the driver was killed by signal {-code}")


def _from_outside(caught: Any) -> bool:  # noqa: ANN401 -- signal.struct_siginfo has no public name on 3.11
    """Whether the signal comes from beyond our PID namespace: no sandbox ends its own run."""
    return os.getpid() != 1 or caught.si_pid == 0


def _missing_events(dropped: int) -> bytes:
    return json.dumps({"kind": "dropped", "bytes": dropped}).encode()


def _read_report(lines: Sequence[bytes]) -> tuple[tuple[ToolResult, ...], dict[str, str]]:
    """What a driver of ours says on its report pipe; what is not in our words is left out."""
    tools: list[ToolResult] = []
    words: dict[str, str] = {}
    for line in lines:
        try:
            document = json.loads(line)
            if "tool" in document:
                tools.append(ToolResult(**document["tool"]))
            else:
                words |= {str(key): str(value) for key, value in document.items()}
        except (ValueError, TypeError, AttributeError):
            continue
    return tuple(tools), words


def _write(outbox: Outbox, result: Result) -> None:
    try:
        outbox.write_result(result)
    except OSError as error:
        _say(f"cannot write {protocol.RESULT}: {error}")


def _last_words(unsent: dict[Stream, bytes]) -> None:
    """What the door did not take goes to the engine's log, as far as that takes it at once."""
    echo = Echo()
    for stream, data in unsent.items():
        echo.offer(stream, data[: 64 * 2**10])
    echo.start()
    echo.close(time.monotonic() + 0.2)


def _say(text: str) -> None:
    """To the engine's log, the only listener left."""
    print(f"runner: {text}", file=sys.stderr, flush=True)

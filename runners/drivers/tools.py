"""The driver that runs a plan of tools, side by side as far as `after` allows."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quality_gates.toolrun import ToolRun
from runners import process
from runners.protocol import ToolResult, ToolsDriver
from runners.surroundings import Surroundings

EVENTS_VARIABLE = "VSC_TEST_EVENTS_FD"
_TERM_S = 2.0
"""Between TERM and KILL of a tool that is out of time."""
_LINGER_S = 1.0
"""For the last bytes of a tool that has ended while a stranger still holds its pipe."""
_READ_BYTES = 256 * 2**10


def run(driver: ToolsDriver, surroundings: Surroundings) -> int:
    """0 when the plan was executed, whatever the tools' exit codes: those are judged elsewhere."""
    run_plan(driver.tools, surroundings)
    return 0


def run_plan(tools: Sequence[ToolRun], surroundings: Surroundings) -> list[ToolResult]:
    """How each tool ended, in the order of their ends; each is reported the moment it ends."""
    # So that what a tool leaves behind is found below us, and ended with it.
    process.adopt_orphans()
    return list(_Plan(tools, surroundings).execute())


@dataclass(slots=True)
class _Running:
    tool: ToolRun
    process: "subprocess.Popen[bytes] | None"
    started: float
    file: int | None = None
    """The output file, while there is one to write."""
    pipe: int | None = None
    output_bytes: int = 0
    truncated: bool = False
    status: int | None = None
    ended: float = 0.0
    timed_out: bool = False
    kill_at: float = field(default=float("inf"))
    detail: str = ""

    def take(self, data: bytes) -> None:
        """Keep what the cap allows."""
        kept = data[: self.tool.max_output_bytes - self.output_bytes]
        self.truncated |= len(kept) < len(data)
        self.output_bytes += len(kept)
        if self.file is None:
            return
        try:
            view = memoryview(kept)
            while view:
                view = view[os.write(self.file, view) :]
        # The disk is full: the tool still runs to its end, and its output counts as cut.
        except OSError as error:
            self.detail, self.truncated = f"cannot write {self.tool.stdout}: {error.strerror}", True
            os.close(self.file)
            self.file = None

    def result(self) -> ToolResult:
        """The value of it all."""
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        detail = self.detail
        if code is not None and code < 0:
            detail, code = detail or f"killed by signal {-code}", None
        if self.timed_out:
            detail, code = f"did not end within {self.tool.timeout_s:g} s", None
        duration_s = round(self.ended - self.started, 3)
        return ToolResult(
            self.tool.name,
            code,
            self.timed_out,
            duration_s,
            self.output_bytes,
            self.truncated,
            detail,
        )


class _Plan:
    def __init__(self, tools: Sequence[ToolRun], surroundings: Surroundings) -> None:
        self._waiting = list(tools)
        self._surroundings = surroundings
        self._running: list[_Running] = []
        self._done: set[str] = set()
        self._selector = selectors.DefaultSelector()

    def execute(self) -> Iterator[ToolResult]:
        with _child_alarm() as alarm:
            self._selector.register(alarm, selectors.EVENT_READ)
            while self._waiting or self._running:
                self._start_ready()
                self._step(alarm)
                for run in [run for run in self._running if self._is_over(run)]:
                    yield self._finish(run)
        self._selector.close()

    def _start_ready(self) -> None:
        for tool in [tool for tool in self._waiting if set(tool.after) <= self._done]:
            self._waiting.remove(tool)
            run = _start(tool, self._surroundings)
            self._running.append(run)
            if run.pipe is not None:
                self._selector.register(run.pipe, selectors.EVENT_READ, run)

    def _step(self, alarm: int) -> None:
        """Wait for output, an end or a time-out; act on it."""
        for key, _ in self._selector.select(self._patience()):
            if key.fd == alarm:
                with contextlib.suppress(BlockingIOError):
                    os.read(alarm, 4096)
            else:
                self._read(key.data)
        ended, _ = process.reap()
        for run in self._running:
            if run.process is not None and run.status is None and run.process.pid in ended:
                run.status, run.ended = ended[run.process.pid], time.monotonic()
                # Popen's own field: we have waited for it, not Popen.
                run.process.returncode = os.waitstatus_to_exitcode(run.status)
                _signal_group(run, signal.SIGKILL)
            self._hurry(run)

    def _patience(self) -> float | None:
        now = time.monotonic()
        if any(self._is_over(run) for run in self._running):
            return 0.0
        moments = [
            run.ended + _LINGER_S
            if run.status is not None
            else min(run.started + run.tool.timeout_s, run.kill_at)
            if not run.timed_out
            else run.kill_at
            for run in self._running
        ]
        return max(0.0, min(moments) - now) if moments else None

    def _read(self, run: _Running) -> None:
        if run.pipe is None:
            return
        data = os.read(run.pipe, _READ_BYTES)
        if data:
            run.take(data)
        else:
            self._close_pipe(run)

    def _hurry(self, run: _Running) -> None:
        now = time.monotonic()
        if run.status is not None or run.process is None:
            return
        if not run.timed_out and now >= run.started + run.tool.timeout_s:
            run.timed_out, run.kill_at = True, now + _TERM_S
            _signal_group(run, signal.SIGTERM)
        elif run.timed_out and now >= run.kill_at:
            run.kill_at = now + _TERM_S
            _signal_group(run, signal.SIGKILL)

    def _is_over(self, run: _Running) -> bool:
        if run.process is None:
            return True
        if run.status is None:
            return False
        # Nobody else's: what still lives below us is what this tool left behind.
        if len(self._running) == 1:
            _kill_strays()
        return run.pipe is None or time.monotonic() >= run.ended + _LINGER_S

    def _finish(self, run: _Running) -> ToolResult:
        self._close_pipe(run)
        if run.file is not None:
            os.close(run.file)
        self._running.remove(run)
        self._done.add(run.tool.name)
        result = run.result()
        self._surroundings.report(result)
        return result

    def _close_pipe(self, run: _Running) -> None:
        if run.pipe is not None:
            self._selector.unregister(run.pipe)
            os.close(run.pipe)
            run.pipe = None


def _start(tool: ToolRun, surroundings: Surroundings) -> _Running:
    run = _Running(tool, None, time.monotonic())
    environ = {**tool.environ, EVENTS_VARIABLE: str(surroundings.events_fd)}
    try:
        if tool.stdout is not None:
            run.file = _fresh_file(surroundings.out / tool.stdout)
        run.process = subprocess.Popen(
            tool.argv,
            env=environ,
            cwd=tool.cwd,
            stdin=subprocess.DEVNULL,
            stdout=None if tool.stdout is None else subprocess.PIPE,
            start_new_session=True,
            pass_fds=(surroundings.events_fd,),
        )
    except OSError as error:
        run.detail, run.ended = f"cannot start: {error}", time.monotonic()
        return run
    if run.process.stdout is not None:
        run.pipe = os.dup(run.process.stdout.fileno())
        run.process.stdout.close()
    return run


def _fresh_file(path: Path) -> int:
    """A new file, whatever an earlier tool has put under its name."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _signal_group(run: _Running, number: signal.Signals) -> None:
    if run.process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(run.process.pid, number)


def _kill_strays() -> None:
    for pid in process.descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _child_alarm() -> Iterator[int]:
    """A descriptor that becomes readable when a child ends."""
    read, write = os.pipe()
    for fd in (read, write):
        os.set_blocking(fd, False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(old)
        signal.signal(signal.SIGCHLD, before)
        os.close(read)
        os.close(write)

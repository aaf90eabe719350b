"""The process tree of a sandbox, as PID 1 sees it: hide from it, reap it, end all of it.

Outside a PID namespace (tests, a developer's shell) the same verbs act on the caller's descendants
only.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

_SET_DUMPABLE, _SET_CHILD_SUBREAPER = 4, 36  # linux/prctl.h


def hide() -> None:
    """Let no process of the same uid trace this one, or read its memory, environment or files."""
    _prctl(_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, as PID 1 already is."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def volunteer_for_oom() -> None:
    """When memory runs out, let the kernel end this process and its children before PID 1.

    PID 1 keeps the record. A child of a hidden process is hidden too, and may not write its own
    files in /proc: it shows itself while it does.
    """
    _prctl(_SET_DUMPABLE, 1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")
    _prctl(_SET_DUMPABLE, 0)


def reap() -> tuple[dict[int, int], bool]:
    """Collect the children that have ended: pid -> wait status.

    And whether no child is left at all.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, True
        if pid == 0:
            return ended, False
        ended[pid] = status


def signal_all(number: signal.Signals) -> None:
    """Signal every process of the sandbox but this one.

    Outside a PID namespace, every descendant.
    """
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)
        return
    for pid in descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_until_alone(
    until: float, on_end: Callable[[dict[int, int]], None] = lambda _: None
) -> bool:
    """Kill and reap until no child is left.

    False if the kernel still holds one at `until` (monotonic seconds).

    SIGCHLD should be blocked, so that an end wakes this at once.
    """
    while True:
        signal_all(signal.SIGKILL)
        ended, alone = reap()
        on_end(ended)
        if alone or time.monotonic() >= until:
            return alone
        signal.sigtimedwait({signal.SIGCHLD}, 0.02)


def descendants() -> list[int]:
    """The pids below this process, as /proc shows them now."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 -- names are wanted, and this runs while processes come and go
        if name.isdigit():
            children.setdefault(_parent(name), []).append(int(name))
    found, queue = [], [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _parent(pid: str) -> int:
    try:
        stat = Path("/proc", pid, "stat").read_bytes()
    except OSError:  # it has ended meanwhile
        return -1
    return int(
        stat[stat.rindex(b")") + 1 :].split()[1]
    )  # the name before it may hold spaces and brackets


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")

"""The parent of one sandbox's processes: starts the command, passes signals on, is the last to end.

Usage: python -I -S keeper.py DIRECTORY    (a program of its own; standard library only)

It outlives its engine: how the command ended is in a file of the sandbox, whoever reads it.
In DIRECTORY:

    command.json    argv, environ, cwd; read once
    keeper.json     who we are; its existence forbids another start
    log             what the command prints
    exit.json       how it ended; no process of the sandbox lives by then

SIGTERM is passed on to the command, SIGUSR1 kills it. One line on standard output says that the
command runs, or why it does not.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time

_DEATH_SIGNAL, _CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1}


def main(directory: str) -> int:
    """Keep one command to its end."""
    os.chdir(directory)
    libc = ctypes.CDLL(None)
    libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    draft = f".keeper.{os.getpid()}"
    with open(draft, "w", encoding=("utf-8")) as file:  # noqa: PTH123 - each import is part of every start
        json.dump({"pid": os.getpid(), "born": born(os.getpid())}, file)
    try:
        os.link(draft, "keeper.json")  # whole, and only once
    except FileExistsError:
        return _say("another start was first")
    with open("command.json", encoding="utf-8") as file:  # noqa: PTH123 - as above
        asked = json.load(file)
    command, trouble = _start(asked, libc)
    if trouble:
        return _say(trouble)
    _say("")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # whoever started us need not wait for our end
    status = _watch(command)
    _kill_the_rest()
    _tell(os.waitstatus_to_exitcode(status))
    return 0


def born(pid: int) -> int:
    """When a process began, in ticks of the machine: with the pid, it names one process."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
        stat = file.read()
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def _start(asked: dict, libc: ctypes.CDLL) -> tuple[int, str]:  # type: ignore[type-arg]  # JSON
    """Fork and exec; the pid, or why there is none."""
    read, write = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        try:
            libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            os.chdir(asked["cwd"])
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(asked["argv"][0], asked["argv"], asked["environ"])  # noqa: S606 - no shell
        except BaseException as error:  # noqa: BLE001 - nothing may return into the parent's code
            os.write(write, str(error).encode() or b"unknown")
        finally:
            os._exit(127)
    os.close(write)
    trouble = os.read(read, 4096).decode(errors="replace")
    os.close(read)
    return pid, trouble


def _watch(command: int) -> int:
    """Reap, and pass signals on, until the command has ended; its wait status."""
    while True:
        caught = signal.sigwait(_WATCHED)
        if caught in (signal.SIGTERM, signal.SIGUSR1):
            # It is not reaped yet, so the pid is still its own.
            os.kill(command, signal.SIGTERM if caught == signal.SIGTERM else signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == command:
                    return ended[1]


def _kill_the_rest() -> None:
    """Whatever the command left becomes our child, and dies, until there is none."""
    while True:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    mine = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if name.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                    stat = file.read()
                if int(stat[stat.rindex(b")") + 1 :].split()[1]) == os.getpid():
                    mine.append(int(name))
    return mine


def _tell(code: int) -> None:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = {
        "code": code if code >= 0 else 128 - code,
        "ended": time.monotonic(),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "memory_peak_bytes": used.ru_maxrss * 1024,
    }
    with open(".exit.json", "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
        json.dump(document, file)
    os.rename(".exit.json", "exit.json")  # noqa: PTH104 - as above


def _say(trouble: str) -> int:
    with contextlib.suppress(OSError):  # the engine has died meanwhile: another one will find us
        os.write(1, json.dumps(trouble).encode() + b"\n")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

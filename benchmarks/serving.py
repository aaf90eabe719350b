"""A `vsc up` of a benchmark: a process of its own over a home of its own."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_START_S = 120.0
_END_S = 60.0


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Our own environment over `home`, without any other `VSC_` variable."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VSC_")}
    return ours | {"VSC_HOME": str(home)} | settings


@contextlib.contextmanager
def serving(vsc: Path, home: Path, **settings: str) -> Iterator[int]:
    """Its process id, once it answers. What it says is in `up.log` of the home."""
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (home / "up.log").open("w") as log:
        process = subprocess.Popen(
            [vsc, "up", "--port", "0"],
            env=environment(home, **settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(process, home)
            yield process.pid
        finally:
            ended(process)


def ended(process: "subprocess.Popen[bytes]") -> None:
    """Asked to end, and made to where it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", home: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not (home / "server-address").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = (home / "up.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"`vsc up` over {home} does not answer: {said}")
        time.sleep(0.05)

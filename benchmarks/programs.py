"""Programs of a benchmark, which end with it: interrupted, it asks them to end and waits for that.

What they have mounted and started is theirs to clear away, so none is killed before a minute.
"""

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_END_S = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it wrote to both of its outputs."""

    exit_code: int
    said: str


async def run(
    *argv: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    ask: signal.Signals = signal.SIGTERM,
) -> Ended:
    """Run a program to its end; a cancel sends it `ask` and waits.

    It has a session of its own: what is typed at the terminal goes to us alone, and once.
    """
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    )
    running = asyncio.create_task(_heard(starting))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await _asked_to_end(await starting, running, ask)  # it may have been starting
        raise


async def _heard(starting: "asyncio.Task[asyncio.subprocess.Process]") -> Ended:
    process = await starting
    said, _ = await process.communicate()
    return Ended(int(process.returncode or 0), said.decode(errors="replace"))


async def _asked_to_end(
    process: asyncio.subprocess.Process, running: "asyncio.Task[Ended]", ask: signal.Signals
) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(ask)
    done, _ = await asyncio.wait([running], timeout=_END_S)
    if not done:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await running

"""A control plane as a process of its own, for tests that kill it; the settings are VSC_..."""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time

from control_plane.logs import configure_logs
from control_plane.processes.local import open_company
from control_plane.settings import Settings


async def serve() -> None:
    ended = asyncio.Event()
    # Not SIGINT: a process that a script starts in the background has it ignored.
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR2, tell_where_everybody_is)
    faulthandler.register(signal.SIGUSR1)  # also of a loop that does not come to a handler
    async with open_company(Settings()):
        print("at work", flush=True)
        await ended.wait()


def tell_where_everybody_is() -> None:
    """Every thread and every task, on standard error: for a test that waits in vain."""
    faulthandler.dump_traceback()
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
    sys.stdout.flush()


def sleep(seconds: float) -> None:
    """`time.sleep` by another call of the C library.

    Under libfaketime 0.9.10 with a true monotonic clock, `clock_nanosleep` until a point in time is
    always EINVAL, and `subprocess` sleeps between its looks at a child.
    """
    threading.Event().wait(seconds)


if __name__ == "__main__":
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        time.sleep = sleep
    configure_logs(sys.stderr)
    asyncio.run(serve())

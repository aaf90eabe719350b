"""A control plane as a process of its own, for tests that kill it; the settings are VSC_..."""

import asyncio
import signal

from control_plane.processes.local import open_company
from control_plane.settings import Settings


async def serve() -> None:
    ended = asyncio.Event()
    # Not SIGINT: a process that a script starts in the background has it ignored.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with open_company(Settings()):
        print("at work", flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve())

"""A control plane as a process of its own, for tests that kill it: `python control_plane_process.py` with VSC_HOME set."""

import asyncio

from control_plane.main import open_company
from control_plane.settings import Settings


async def serve() -> None:
    async with open_company(Settings()):
        print("open", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())

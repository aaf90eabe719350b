"""A loop that nothing unforeseen ends: a bad row or answer is told, and the next round comes."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

_MOST_S = 60.0


async def for_ever(
    name: str, once: Callable[[], Awaitable[object]], *, every_s: float, retry_s: float = 1.0
) -> None:
    """Call `once` every `every_s` seconds until cancelled.

    After a failure it is called again `retry_s` seconds later, then after twice that, and so on.
    """
    failures = 0
    while True:
        try:
            await once()
        except Exception as error:  # the loop must outlive whatever it meets
            failures += 1
            wait_s = back_off_s(failures, retry_s)
            log.warning("loop.failed", loop=name, again_s=wait_s, exc_info=error)
        else:
            failures, wait_s = 0, every_s
        await asyncio.sleep(wait_s)


def back_off_s(failures: int, retry_s: float) -> float:
    """How long to wait after so many failures in a row: doubled each time, a minute at most."""
    return min(_MOST_S, retry_s * 2.0 ** min(failures - 1, 10))

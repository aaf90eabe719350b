"""Waiting for what may never answer, and no longer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def bounded(call: Coroutine[Any, Any, T], within_s: float) -> T:
    """The call's value. Raises TimeoutError after `within_s` seconds, whatever the call does.

    `asyncio.timeout` waits for the end of what it cancels; a query to a database that hangs does
    not end by being cancelled.
    """
    task = asyncio.create_task(call)
    try:
        done, _ = await asyncio.wait({task}, timeout=within_s)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        task.add_done_callback(_look_away)
        raise TimeoutError
    return task.result()


def _look_away(task: "asyncio.Task[Any]") -> None:
    """How it ends in the end interests nobody any more."""
    if not task.cancelled():
        task.exception()

"""Waiting for what may never answer."""

import asyncio

import pytest

from control_plane.api.bounded import bounded


async def answers(value):
    return value


async def fails():
    raise KeyError("x")


async def hangs(stubborn):
    """As a query does: it is cancelled, and goes on."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stubborn.append("asked to end")
            await asyncio.sleep(0.2)
            raise OSError("late") from None


async def test_what_answers_in_time_is_as_it_was():
    assert await bounded(answers(3), 5.0) == 3
    with pytest.raises(KeyError):
        await bounded(fails(), 5.0)


async def test_what_does_not_end_when_it_is_cancelled_is_not_waited_for():
    asked = []

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            await bounded(hangs(asked), 0.05)
    still = [one for one in asyncio.all_tasks() if "hangs" in repr(one)]
    await asyncio.wait(still)

    assert asked == ["asked to end"]


async def test_who_waits_may_be_cancelled():
    asked = []
    waiting = asyncio.create_task(bounded(hangs(asked), 60.0))
    await asyncio.sleep(0.05)
    still = [one for one in asyncio.all_tasks() if "hangs" in repr(one) and one is not waiting]

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait(still)

    assert asked == ["asked to end"]

"""Parts of the benchmark as two checkouts have them, one process after the other in alternation.

Each process runs its checkout's own `python -m benchmarks PART`; of what it says,
the lines of medians are read, whose form both have.
"""

import random
import re
import signal
from collections.abc import Mapping

from benchmarks.checkout import Checkout
from benchmarks.comparison import Row
from benchmarks.paired import Sample, say
from benchmarks.programs import run

_MEDIAN = re.compile(r"^(\w+: [^:\n]+): ([0-9.]+) ms \([0-9.]+-[0-9.]+\)", re.MULTILINE)
_USAGE = 2
"""argparse's exit code: the checkout has no such part."""


class PartMissing(Exception):
    """A checkout has no such part."""


async def compare(
    before: Checkout, now: Checkout, part: str, pairs: int, percent: int
) -> list[Row]:
    """So many processes of each; of a part that one of them lacks, no rows."""
    said: dict[str, list[Mapping[str, float]]] = {before.name: [], now.name: []}
    for number in range(pairs):
        say(f"{part}: pair {number + 1} of {pairs}", end="\r")
        for checkout in random.sample((before, now), 2):
            try:
                said[checkout.name].append(await _run(checkout, part, percent))
            except PartMissing:
                say(f"{part}: {checkout.name} has no such part, so it is not compared")
                return []
    return rows(said[before.name], said[now.name])


def rows(before: list[Mapping[str, float]], now: list[Mapping[str, float]]) -> list[Row]:
    """What both have measured; a sample's times are the medians of processes."""
    both = [what for what in before[0] if what in now[0]]
    return [Row(what, _sample(before, what), _sample(now, what)) for what in both]


def medians(said: str) -> dict[str, float]:
    """What was measured -> seconds."""
    return {what: float(ms) / 1000 for what, ms in _MEDIAN.findall(said)}


def _sample(processes: list[Mapping[str, float]], what: str) -> Sample:
    return Sample(tuple(process[what] for process in processes))


async def _run(checkout: Checkout, part: str, percent: int) -> dict[str, float]:
    """Interrupted as by a terminal, which is what every checkout knows to clear away after."""
    command = (checkout.python, "-m", "benchmarks", part, "--rounds-percent", str(percent))
    ended = await run(*command, cwd=checkout.root, ask=signal.SIGINT)
    if ended.exit_code == _USAGE and "no such part" in ended.said:
        raise PartMissing
    if ended.exit_code != 0:
        raise RuntimeError(f"{part} of {checkout.name} failed: {ended.said[-2000:]}")
    return medians(ended.said)

"""The method: every round runs every variant once, in shuffled order; the first round is dropped.

Medians.
"""

import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

Variant = Callable[[], Awaitable[float]]
"""Does the thing once and says how many seconds it took.

Its own setting up and clearing away are not counted.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `build/bench.json`.

    Smaller is better; the goal is met by a ratio that is not above it.
    """

    id: str
    ratio: float
    goal: float
    how: str
    what: str = ""
    """As a row of one table; empty: it is none."""
    before: str = ""
    now: str = ""
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The times of one variant, in seconds."""

    times_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle one."""
        return statistics.median(self.times_s)

    def __str__(self) -> str:
        low, high = min(self.times_s), max(self.times_s)
        return f"{_ms(self.median_s)} ms ({_ms(low)}-{_ms(high)})"


class Stopwatch:
    """`with Stopwatch() as watch: ...`, then `watch.seconds`."""

    seconds = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began


async def paired(what: str, variants: Mapping[str, Variant], rounds: int) -> dict[str, Sample]:
    """Run `rounds` rounds and one more before them, which warms up and is not counted."""
    order, times = list(variants), {name: list[float]() for name in variants}
    for number in range(rounds + 1):
        say(f"{what}: round {number} of {rounds}", end="\r")
        random.shuffle(order)
        for name in order:
            seconds = await variants[name]()
            if number > 0:
                times[name].append(seconds)
    samples = {name: Sample(tuple(seconds)) for name, seconds in times.items()}
    for name, sample in samples.items():
        say(f"{what}: {name}: {sample}")
    return samples


def ratio(above: Sample, below: Sample) -> float:
    """Median by median."""
    return above.median_s / below.median_s


def say(text: str, end: str = "\n") -> None:
    """Progress, for a person; the rest of a line that is written over is blanked."""
    if end == "\n" or sys.stderr.isatty():
        sys.stderr.write(f"{text:<78}{end}")
        sys.stderr.flush()


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"

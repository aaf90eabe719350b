"""What a checkout's benchmark says is read as it is said, and compared round by round."""

import asyncio

import pytest

from benchmarks.alternated import medians, rows
from benchmarks.comparison import Row, table
from benchmarks.paired import Sample, paired


async def test_the_medians_that_a_benchmark_tells_are_read(capsys):
    async def quick() -> float:
        await asyncio.sleep(0)
        return 0.0021

    async def slow() -> float:
        await asyncio.sleep(0)
        return 1.962

    await paired("hydrate", {"large": quick, "a clone, whole": slow}, 3)

    told = "setting up\n" + capsys.readouterr().err + "load before 1.0, after 3.3\n"
    assert medians(told) == pytest.approx(
        {"hydrate: large": 0.0021, "hydrate: a clone, whole": 1.962}
    )


def test_only_what_both_have_measured_is_compared():
    before = [{"patch: large": 0.04, "patch: gone": 1.0}, {"patch: large": 0.05, "patch: gone": 1}]
    now = [{"patch: large": 0.02, "patch: new": 1.0}, {"patch: large": 0.10, "patch: new": 1.0}]

    (row,) = rows(before, now)

    assert (row.what, row.before.times_s, row.now.times_s) == (
        "patch: large",
        (0.04, 0.05),
        (0.02, 0.10),
    )
    assert row.ratios == (0.5, 2.0)


def test_a_ratio_is_the_median_of_rounds_not_of_medians():
    """Load that comes and goes falls on both of a round, and leaves their ratio."""
    row = Row("vsc check", Sample((1.0, 10.0, 2.0)), Sample((0.5, 6.0, 0.8)))

    assert (
        "| vsc check | 2000 ms (1000-10000) | 800 ms (500-6000) | **0.50** (0.40-0.60) | 3 |"
        in (table([row], [], "331d69d"))
    )
    assert row.document()["ratio"] == pytest.approx(0.5)

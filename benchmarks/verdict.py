"""P9: the judge's stages side by side, against the slowest of them and against all in turn."""

from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.company import Bench, Told, open_bench
from benchmarks.material import release
from benchmarks.paired import Entry, Sample, paired, ratio
from quality_gates.model import Verdict


async def measure(home: Path, rounds: int) -> list[Entry]:
    """Two companies that differ in one setting: how many sandboxes live at once.

    Environment and base results are cached.
    """
    library = release(home, "cachetools", "7.3.1", "7.3.2")
    slowest: dict[int, tuple[str, float]] = {}
    async with AsyncExitStack() as stack:
        abreast = await stack.enter_async_context(open_bench(home / "abreast", library.repository))
        in_turn = await stack.enter_async_context(
            open_bench(home / "in-turn", library.repository, sandboxes=1)
        )

        async def side_by_side() -> float:
            return _judging_s(await _judged(abreast, library.patch))

        async def one_by_one() -> float:
            told = await _judged(in_turn, library.patch)
            slowest[len(slowest)] = _slowest(told)
            return _judging_s(told)

        times = await paired(
            "verdict", {"side by side": side_by_side, "one by one": one_by_one}, rounds
        )
    counted = [slowest[number] for number in range(1, len(slowest))]
    longest = Sample(tuple(seconds for _, seconds in counted))
    together, alone = times["side by side"], times["one by one"]
    stage = counted[0][0]
    return [
        Entry(
            "P9-longest",
            ratio(together, longest),
            1.10,
            f"verdict on cachetools 7.3.1 -> 7.3.2, stages side by side: {together},"
            f" against the slowest stage alone ({stage}): {longest}; n={rounds}",
        ),
        Entry(
            "P9-sum",
            ratio(together, alone),
            0.60,
            f"the same, {together}, against the same stages one after another: {alone}; n={rounds}",
        ),
    ]


async def _judged(bench: Bench, patch: bytes) -> Told:
    sha256 = (await bench.company.services.blobs.put(patch)).sha256
    told = await bench.run(patch_sha256=sha256)
    if told.run.verdict is not Verdict.PASSED:
        raise RuntimeError(f"the verdict is {told.run.verdict}: {told.run.cause}")
    return told


def _judging_s(told: Told) -> float:
    return (told.reached("FINISHED") - told.reached("VERIFYING")).total_seconds()


def _slowest(told: Told) -> tuple[str, float]:
    """Of stages that ran one after another: each lasted from the end before it to its own."""
    before, lasted = told.reached("VERIFYING"), {}
    for stage, at in told.ends():
        lasted[stage] = (at - before).total_seconds()
        before = at
    return max(lasted.items(), key=lambda one: one[1])

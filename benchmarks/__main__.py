"""`python -m benchmarks [--rounds-percent N] [PART...]`: measure, print a table, write build/bench.json."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks import hydrate, lifecycle, patch, verdict, whole_run
from benchmarks.material import ROOT, scratch
from benchmarks.paired import Entry, say
from benchmarks.trees import open_trees

RESULT = ROOT / "build" / "bench.json"
PARTS = ("hydrate", "patch", "lifecycle", "run", "verdict")


async def measured(stack: ExitStack, parts: Sequence[str], percent: int) -> list[Entry]:
    """The entries of the parts named, one part after another: nothing else of ours runs meanwhile."""
    if (
        this := asyncio.current_task()
    ) is not None:  # asked to end, it clears away what it has started
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)

    def rounds(usual: int) -> int:
        return max(1, usual * percent // 100)

    entries: list[Entry] = []
    home = stack.enter_context(scratch())
    trees = await open_trees(home)
    stack.callback(trees.close)
    if "hydrate" in parts:
        entries += await hydrate.measure(trees, rounds(20))
    if "patch" in parts:
        entries += await patch.measure(trees, rounds(20))
    if "lifecycle" in parts:
        entries += await lifecycle.measure(trees, rounds(25))
    if "run" in parts:
        entries += await whole_run.measure(home, rounds(25))
    if "verdict" in parts:
        entries += await verdict.measure(home, rounds(5))
    return entries


def main() -> None:
    """Say how loaded the machine is before and after: a ratio bears load, up to a point."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure what the platform costs, as ratios."
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)} (default: all)"
    )
    parser.add_argument(
        "--rounds-percent", type=int, default=100, help="of the usual number of rounds"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("run it as root: overlays and slots, which are what is measured, need it")
    began, load = time.monotonic(), os.getloadavg()[0]
    with (
        ExitStack() as stack
    ):  # around the loop, which waits for its threads: nothing is cleared away under one of them
        entries = asyncio.run(measured(stack, chosen.parts or PARTS, chosen.rounds_percent))
    say(
        f"load before {load:.1f}, after {os.getloadavg()[0]:.1f}; {time.monotonic() - began:.0f} s in all"
    )
    _show(entries)
    if not chosen.parts:
        _keep(RESULT, entries)
        sys.stdout.write(f"written to {RESULT.relative_to(ROOT)}\n")


def _show(entries: Sequence[Entry]) -> None:
    sys.stdout.write(f"{'':14}{'ratio':>7}{'goal':>7}\n")
    for entry in entries:
        verdict = (
            "" if entry.ratio <= entry.goal else "  above its goal (docs/performance.md says why)"
        )
        sys.stdout.write(
            f"{entry.id:14}{entry.ratio:7.3f}{entry.goal:7.2f}{verdict}\n{'':14}{entry.how}\n"
        )


def _keep(path: Path, entries: Sequence[Entry]) -> None:
    path.parent.mkdir(exist_ok=True)
    document = [{**asdict(entry), "ratio": round(entry.ratio, 4)} for entry in entries]
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""`python -m benchmarks [--rounds-percent N] [--against COMMIT] [PART...]`: measure, print a table.

A whole run also writes build/bench.json, or with a COMMIT build/bench-against.json.
"""

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
from typing import Any

from benchmarks import (
    alternated,
    claim,
    command_line,
    hydrate,
    lifecycle,
    memory,
    patch,
    verdict,
    whole_run,
)
from benchmarks.checkout import Checkout, CommitUnknown, here, older
from benchmarks.comparison import Row, table
from benchmarks.material import ROOT, scratch
from benchmarks.paired import Entry, say
from benchmarks.trees import open_trees

RESULT = ROOT / "build" / "bench.json"
AGAINST = ROOT / "build" / "bench-against.json"
PARTS = ("hydrate", "patch", "lifecycle", "run", "verdict", "claim", "memory")
COMPARED = ("cli", "hydrate", "patch", "run", "claim", "memory")
"""With `--against`; of claim and memory there is nothing to compare with, only goals."""
_OVER_TREES = frozenset({"hydrate", "patch", "lifecycle"})
_PAIRS = 4
_PERCENT_IN_PAIRS = 40
_INTERRUPTED = 130


async def measured(stack: ExitStack, parts: Sequence[str], percent: int) -> list[Entry]:
    """The entries of the parts named, one after another: nothing else of ours runs meanwhile."""
    entries: list[Entry] = []
    home = stack.enter_context(scratch())
    if _OVER_TREES.intersection(parts):
        trees = await open_trees(home)
        stack.callback(trees.close)
        if "hydrate" in parts:
            entries += await hydrate.measure(trees, _rounds(20, percent))
        if "patch" in parts:
            entries += await patch.measure(trees, _rounds(20, percent))
        if "lifecycle" in parts:
            entries += await lifecycle.measure(trees, _rounds(25, percent))
    for part, measure, usual in (
        ("run", whole_run.measure, 25),
        ("verdict", verdict.measure, 5),
        ("claim", claim.measure, 20),
        ("memory", memory.measure, 2000),
    ):
        if part in parts:
            entries += await measure(home, _rounds(usual, percent))
    return entries


async def compared(
    stack: ExitStack, before: Checkout, parts: Sequence[str], percent: int
) -> list[Row]:
    """The rows of the parts that two checkouts can share."""
    rows: list[Row] = []
    home, now = stack.enter_context(scratch()), here()
    if "cli" in parts:
        rows += await command_line.compare(before, now, home, _rounds(6, percent))
    for part in ("hydrate", "patch", "run"):
        if part in parts:
            pairs = _rounds(_PAIRS, percent)
            rows += await alternated.compare(before, now, part, pairs, _PERCENT_IN_PAIRS)
    return rows


def main() -> None:
    """Say how loaded the machine is before and after: a ratio bears load, up to a point."""
    parser = _parser()
    chosen = parser.parse_args()
    known = COMPARED if chosen.against else PARTS
    if unknown := set(chosen.parts) - set(known):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("run it as root: overlays and slots, which are what is measured, need it")
    try:
        before = older(chosen.against) if chosen.against else None
    except CommitUnknown as unknown_commit:
        parser.error(str(unknown_commit))
    parts, percent = chosen.parts or known, chosen.rounds_percent
    began, load = time.monotonic(), os.getloadavg()[0]
    # Around the loop, which waits for its threads: nothing is cleared away under one of them.
    try:
        with ExitStack() as stack:
            rows, entries = asyncio.run(_all(stack, before, parts, percent))
    except (asyncio.CancelledError, KeyboardInterrupt):
        say("interrupted; what was started and mounted is cleared away")
        sys.exit(_INTERRUPTED)
    say(f"load before {load:.1f}, after {os.getloadavg()[0]:.1f}")
    say(f"{time.monotonic() - began:.0f} s in all")
    if before is not None:
        sys.stdout.write(table(rows, entries, before.name))
    _show(entries)
    if not chosen.parts:
        _keep(before, rows, entries)


async def _all(
    stack: ExitStack, before: Checkout | None, parts: Sequence[str], percent: int
) -> tuple[list[Row], list[Entry]]:
    """Asked to end, it clears away what it has started."""
    if (this := asyncio.current_task()) is not None:
        for asked in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(asked, this.cancel)
    if before is None:
        return [], await measured(stack, parts, percent)
    rows = await compared(stack, before, parts, percent)
    alone = [part for part in parts if part in ("claim", "memory")]
    return rows, await measured(stack, alone, percent)


def _rounds(usual: int, percent: int) -> int:
    return max(1, usual * percent // 100)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure what the platform costs, as ratios."
    )
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"only these: {', '.join(PARTS)}; with --against: {', '.join(COMPARED)}",
    )
    parser.add_argument("--against", metavar="COMMIT", help="compare with that commit, in turn")
    parser.add_argument(
        "--rounds-percent", type=int, default=100, help="of the usual number of rounds"
    )
    return parser


def _show(entries: Sequence[Entry]) -> None:
    sys.stdout.write(f"{'':14}{'ratio':>7}{'goal':>7}\n")
    for entry in entries:
        met = "" if entry.ratio <= entry.goal else "  above its goal (docs/performance.md says why)"
        sys.stdout.write(
            f"{entry.id:14}{entry.ratio:7.3f}{entry.goal:7.2f}{met}\n{'':14}{entry.how}\n"
        )


def _keep(before: Checkout | None, rows: Sequence[Row], entries: Sequence[Entry]) -> None:
    told = [{**asdict(entry), "ratio": round(entry.ratio, 4)} for entry in entries]
    if before is None:
        _write(RESULT, told)
    else:
        compared_rows = [row.document() for row in rows]
        _write(AGAINST, {"against": before.name, "compared": compared_rows, "now": told})


def _write(path: Path, document: Any) -> None:  # noqa: ANN401 -- whatever JSON can say
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"written to {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()

"""What two checkouts took for the same thing, as rows of one table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.paired import Entry, Sample


@dataclass(frozen=True, slots=True)
class Row:
    """The times of both, round by round."""

    what: str
    before: Sample
    now: Sample

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of each round, now divided by before."""
        rounds = zip(self.now.times_s, self.before.times_s, strict=True)
        return tuple(now_s / before_s for now_s, before_s in rounds)

    def document(self) -> dict[str, Any]:
        """As `build/bench-against.json` has it."""
        return {
            "what": self.what,
            "before_s": self.before.times_s,
            "now_s": self.now.times_s,
            "ratio": round(statistics.median(self.ratios), 4),
        }


def table(rows: Sequence[Row], entries: Sequence[Entry], before: str) -> str:
    """Markdown: medians with (min-max); the ratio's are those of its rounds.

    What has goals alone is compared with what it says itself.
    """
    lines = [f"| what | {before} | now | now / before | n |", "|---|---|---|---|---|"]
    for row in rows:
        low, middle, high = min(row.ratios), statistics.median(row.ratios), max(row.ratios)
        ratio = f"**{middle:.2f}** ({low:.2f}-{high:.2f})"
        lines.append(f"| {row.what} | {row.before} | {row.now} | {ratio} | {len(row.ratios)} |")
    for entry in entries:
        ratio = f"**{entry.ratio:.2f}**; goal {entry.goal:g}"
        told = f"{entry.before} | {entry.now} | {ratio} | {entry.rounds}"
        lines.append(f"| {entry.what or entry.id} | {told} |")
    return "\n".join(lines) + "\n"

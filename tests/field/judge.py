#!/usr/bin/env python3
"""Judge the corpus of docs/field.md: honest releases and regressions, one after the other.

Usage: tests/field/judge.py [--again] [--kind honest|regression] [NAME...]

Writes build/field.json, a row for each change. What is there is not judged again, unless
`--again` or names say so. Exit code 1: a bound of docs/field.md is not kept.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "kit")]

import corpus  # noqa: E402 -- found by the line above

OUT = corpus.ROOT / "build" / "field.json"
VSC = [sys.executable, "-c", "from control_plane.cli.main import main; main()"]
KINDS = {"honest": corpus.honest, "regression": corpus.regression}
REGRESSIONS = 20
PATIENCE_S = 3600
SHARE = 0.95
"""Of the bases, and of the honest changes (issue of the field)."""

Row = dict[str, Any]


def judged(kind: str, pair: corpus.Pair) -> Row:
    """One change through the whole platform, as a user would have it judged."""
    with tempfile.TemporaryDirectory(prefix="vsc-field-") as scratch:
        change = KINDS[kind](Path(scratch) / pair.name, pair)
        began = time.monotonic()
        command = [
            *(*VSC, "check", "--json", "--repo", change.repo),
            *("--base", change.base, "--head", change.head),
            *("--allow-test-changes", "--allow-dependency-changes"),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(command, -1, "", f"no end in {PATIENCE_S} s")
    row: Row = {"name": pair.name, "old": pair.old, "new": pair.new, "kind": kind}
    row |= {"exit_code": done.returncode, "seconds": round(time.monotonic() - began, 1)}
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return row | {"verdict": None, "cause": done.stderr[-2000:]}
    return row | {
        "verdict": told["verdict"],
        "cause": told["cause"],
        "base_trouble": told["base_trouble"],
        "gates": {gate["gate"]: gate["verdict"] for gate in told["gates"]},
        "reasons": {
            gate["gate"]: gate["reasons"] for gate in told["gates"] if gate["verdict"] != "passed"
        },
        "notes": told["notes"],
        "stages": told["stages"],
    }


def kept(row: Row) -> bool:
    """Whether it ended as the rule wants it: honest `passed`, a regression `failed` by a test."""
    if row["kind"] == "honest":
        return bool(row["verdict"] == "passed")
    by_tests = {row.get("gates", {}).get(gate) for gate in ("tests", "new_tests")}
    return row["verdict"] == "failed" and "failed" in by_tests


def summary(rows: Collection[Row], asked: int) -> tuple[str, bool]:
    """What is written below the list, and whether all bounds are kept.

    `asked`: how many honest changes there are; what was not judged has not passed.
    """
    honest = [row for row in rows if row["kind"] == "honest"]
    wrong = [row for row in rows if row["kind"] == "regression"]
    passed, failed = sum(map(kept, honest)), sum(map(kept, wrong))
    untested = sum(bool(row.get("base_trouble")) for row in honest)
    text = (
        f"{passed} of {asked} honest changes passed, {len(honest)} were judged; "
        f"{untested} bases cannot be tested; {failed} of {len(wrong)} regressions failed by a test"
    )
    enough = len(wrong) >= min(REGRESSIONS, passed)
    return text, passed >= SHARE * asked and enough and failed == len(wrong)


def shown(row: Row) -> str:
    """A row for people."""
    why = (
        row.get("base_trouble")
        or "; ".join(
            f"{gate}: {reasons[0] if reasons else ''}" for gate, reasons in row["reasons"].items()
        )
        if "reasons" in row
        else row["cause"]
    )
    told = f"{row['name']} {row['old']} -> {row['new']}: {row['verdict']} in {row['seconds']} s"
    return f"{row['kind']:10} {told}" + (f"\n           {why[:400]}" if why else "")


def main() -> int:
    known = {pair.name: pair for pair in corpus.pairs()}
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--again", action="store_true")
    words.add_argument("--kind", choices=KINDS)
    words.add_argument("names", nargs="*", choices=[[], *known], metavar="NAME")
    given = words.parse_args()

    rows = {(r["kind"], r["name"]): r for r in json.loads(OUT.read_text())} if OUT.exists() else {}
    for kind in KINDS:
        for name in given.names or known:
            if given.kind not in (None, kind):
                continue
            if kind == "regression" and not given.names and not _is_to_regress(rows, name):
                continue
            if (kind, name) in rows and not (given.again or given.names):
                continue
            corpus.fetch(name)
            rows[kind, name] = row = judged(kind, known[name])
            partial = OUT.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
            partial.replace(OUT)
            print(shown(row), flush=True)
    text, good = summary(list(rows.values()), len(known))
    print(text)
    return 0 if good else 1


def _is_to_regress(rows: dict[tuple[str, str], Row], name: str) -> bool:
    """Among the first whose honest change passes."""
    passing = [row["name"] for (kind, _), row in rows.items() if kind == "honest" and kept(row)]
    return name in passing[:REGRESSIONS]


if __name__ == "__main__":
    sys.exit(main())

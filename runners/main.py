"""The verbs of `runner.pyz`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str]) -> int:
    """The exit code of one verb.

    Each verb's code is imported when it is asked for: every sandbox pays for a start.
    """
    if list(arguments) == ["supervise"] or list(arguments[:2]) == ["supervise", "--root"]:
        from runners.supervisor import Places, supervise  # noqa: PLC0415 -- see the docstring

        # an engine without mounts says where `/` is
        return supervise(Places.below(Path(arguments[2])) if len(arguments) > 1 else Places())
    import argparse  # noqa: PLC0415 -- see the docstring

    parser = argparse.ArgumentParser(prog="runner.pyz", description="The runner of a sandbox.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("supervise", help="be PID 1 of a sandbox")
    hydrate = verbs.add_parser("hydrate", help="apply a delta (standard input) to a tree")
    hydrate.add_argument("--tree", type=Path, required=True)
    hydrate.add_argument(
        "--owner", type=int, default=os.getuid(), help="user and group of new files"
    )
    dehydrate = verbs.add_parser("dehydrate", help="make the patch of a dead sandbox's tree")
    dehydrate.add_argument("--base", type=Path, required=True, help="the unpacked snapshot")
    dehydrate.add_argument("--delta", type=Path, help="what was applied to it before the start")
    dehydrate.add_argument("--against", choices=["base", "start"], default="base")
    dehydrate.add_argument("--tree", type=Path, required=True)
    dehydrate.add_argument("--into", type=Path, required=True)
    compiled = verbs.add_parser("compile", help="add this interpreter's bytecode to a runner.pyz")
    compiled.add_argument("--pyz", type=Path, required=True)
    compiled.add_argument("--into", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    if chosen.verb == "hydrate":
        from runners.hydrate import apply_delta  # noqa: PLC0415 -- see the docstring

        apply_delta(sys.stdin.buffer, chosen.tree, chosen.owner)
        return 0
    if chosen.verb == "compile":
        from runners.compiled import with_bytecode  # noqa: PLC0415 -- see the docstring

        chosen.into.write_bytes(with_bytecode(chosen.pyz.read_bytes(), str(chosen.pyz)))
        return 0
    return _dehydrate(chosen)


def _dehydrate(chosen: "argparse.Namespace") -> int:
    import contextlib  # noqa: PLC0415 -- see `main`

    from runners.dehydrate import collect  # noqa: PLC0415 -- see `main`
    from runners.tree_rules import PatchLimits  # noqa: PLC0415 -- see `main`

    with contextlib.ExitStack() as stack:
        delta = stack.enter_context(chosen.delta.open("rb")) if chosen.delta else None
        collect(
            chosen.base,
            delta,
            chosen.tree,
            None,
            chosen.into,
            PatchLimits(),
            from_base=chosen.against == "base",
        )
    return 0

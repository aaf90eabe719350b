"""`vsc check` and `vsc run` of two checkouts in alternation, each over a home of its own.

First each command brings its own control plane up; then a `vsc up` of each home serves it.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.checkout import Checkout
from benchmarks.comparison import Row
from benchmarks.material import release
from benchmarks.paired import Stopwatch, Variant, paired
from benchmarks.programs import run
from benchmarks.serving import environment, serving

_VERDICTS = (0, 1, 3)
"""Exit codes of a command that has come to a verdict."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, and where its exit codes are kept."""

    arguments: tuple[str, ...]
    codes: set[int]

    async def seconds(self, checkout: Checkout, home: Path) -> float:
        """How long it takes there. Both checkouts have to come to the same verdict."""
        with Stopwatch() as watch:
            ended = await run(checkout.vsc, *self.arguments, cwd=home, env=environment(home))
        self.codes.add(ended.exit_code)
        if len(self.codes) > 1 or not self.codes.issubset(_VERDICTS):
            said = ended.said[-2000:]
            raise RuntimeError(f"`vsc {self.arguments[0]}` ended with {self.codes}: {said}")
        return watch.seconds


async def compare(before: Checkout, now: Checkout, home: Path, rounds: int) -> list[Row]:
    """The first round is not counted: it prepares the environment and judges the base."""
    commands = _commands(home)
    homes = {before: home / "before", now: home / "now"}
    for one in homes.values():
        one.mkdir(mode=0o711)
    rows = await _alternated("alone", commands, homes, rounds)
    with ExitStack() as stack:
        for checkout, one in homes.items():
            stack.enter_context(serving(checkout.vsc, one))
        return rows + await _alternated("vsc up", commands, homes, rounds)


def _commands(home: Path) -> dict[str, Command]:
    library = release(home, "cachetools", "7.3.1", "7.3.2")
    patch = home / "change.patch"
    patch.write_bytes(library.patch)
    given = ("--repo", str(library.repository), "--base", "main")
    change = ("--patch", str(patch), "--allow-test-changes")
    return {
        "vsc check": Command(("check", *given, *change), set()),
        "vsc run": Command(("run", *given, "--", "sh", "-c", "true"), set()),
    }


async def _alternated(
    how: str, commands: Mapping[str, Command], homes: Mapping[Checkout, Path], rounds: int
) -> list[Row]:
    rows = []
    for name, command in commands.items():
        variants = {
            checkout.name: _variant(command, checkout, home) for checkout, home in homes.items()
        }
        before, now = (await paired(f"{name}, {how}", variants, rounds)).values()
        rows.append(Row(f"{name}, {how}", before, now))
    return rows


def _variant(command: Command, checkout: Checkout, home: Path) -> Variant:
    return lambda: command.seconds(checkout, home)

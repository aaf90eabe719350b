"""The driver that fills an environment and packs it: tools one after another, then its layers."""

from dataclasses import replace
from pathlib import Path

from runners.drivers.tools import run_plan
from runners.layers import CannotPack, write_layers
from runners.protocol import PrepareDriver
from runners.surroundings import Surroundings

LAYERS = "env.layers"


def run(driver: PrepareDriver, surroundings: Surroundings) -> int:
    """0 and the layers in the outputs, or 1 at the first tool that fails."""
    for tool in driver.tools:
        (result,) = run_plan((replace(tool, after=()),), surroundings)
        if result.exit_code != 0:
            surroundings.explain(f"{tool.name} failed; the tools after it did not run")
            return 1
    try:
        with (surroundings.out / LAYERS).open("xb") as into:
            write_layers(Path(driver.directory), into, surroundings.out)
    except (CannotPack, OSError, ValueError) as error:
        surroundings.explain(f"cannot pack {driver.directory}: {error}")
        return 1
    return 0

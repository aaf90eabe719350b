"""The driver that fills an environment and packs it: tools one after another, then its layers."""

from dataclasses import replace
from pathlib import Path

from runners.layers import CannotPack, write_layers
from runners.protocol import ENV, Driver
from runners.surroundings import Surroundings
from runners.verify import run_plan

LAYERS = "env.layers"


def prepare(driver: Driver, surroundings: Surroundings) -> int:
    """0 and the layers in the outputs, or 1 at the first tool that fails."""
    for tool in driver.tools:
        (result,) = run_plan((replace(tool, after=()),), surroundings)
        if result.exit_code != 0:
            surroundings.explain(f"{tool.name} failed; the tools after it did not run")
            return 1
    environment = Path(driver.environ.get("VSC_ENV_DIR", ENV))
    try:
        with (surroundings.out / LAYERS).open("xb") as into:
            write_layers(environment, into, surroundings.out)
    except (CannotPack, OSError, ValueError) as error:
        surroundings.explain(f"cannot pack {environment}: {error}")
        return 1
    return 0

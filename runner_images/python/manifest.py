"""Say what is really installed beside this interpreter, as JSON: the gates' reports quote it."""

import json
import platform
from importlib.metadata import distributions
from pathlib import Path


def names(requirements: Path) -> list[str]:
    """The distributions that a list asks for by name, one a line."""
    return [
        line.strip()
        for line in requirements.read_text().splitlines()
        if line.strip() and line[0] != "#"
    ]


here = Path(__file__).parent
packages = {found.metadata["Name"].lower(): found.version for found in distributions()}
tools = {name: packages[name] for name in names(here / "tools.in")}
print(
    json.dumps(
        {"python": platform.python_version(), "tools": tools, "packages": packages},
        indent=1,
        sort_keys=True,
    )
)

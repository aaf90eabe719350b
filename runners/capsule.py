"""Reading the capsule, and refusing one that makes no sense before anything is started."""

import json
import math
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from quality_gates.toolrun import ToolRun
from runners.protocol import RESULT, Capsule, CommandDriver, capsule_from_json

_MAX_BYTES = 64 * 2**20
"""Ours, and of a large base: it names every file once for each tool."""


class BadCapsule(ValueError):
    """The capsule cannot be acted on; the control plane made it and must make it differently."""


def read_capsule(path: Path) -> Capsule:
    """The capsule at `path`. Raises BadCapsule, whose text says what is wrong."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        _require(len(text) <= _MAX_BYTES, f"the capsule is larger than {_MAX_BYTES} bytes")
        capsule = capsule_from_json(json.loads(text))
        _check(capsule)
    except BadCapsule:
        raise
    except OSError as error:
        raise BadCapsule(f"cannot read the capsule: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadCapsule(f"the capsule makes no sense: {type(error).__name__}: {error}") from error
    return capsule


def _check(capsule: Capsule) -> None:
    for name in ("deadline_s", "grace_s", "upload_s"):
        seconds = getattr(capsule, name)
        _require(_positive(seconds), f"{name} is {seconds!r}, not a positive number")
    for name in ("log_bytes", "tests_bytes"):
        size = getattr(capsule, name)
        _require(type(size) is int and size >= 0, f"{name} is {size!r}")
    if isinstance(capsule.driver, CommandDriver):
        _check_command(capsule.driver)
    else:
        _check_tools(capsule.driver.tools)


def _check_command(driver: CommandDriver) -> None:
    _require(bool(driver.argv), "the driver's argv is empty")
    _require(
        _texts(driver.argv) and _environ(driver.environ),
        "the driver's argv or environ is not plain text",
    )


def _check_tools(tools: tuple[ToolRun, ...]) -> None:
    _require(bool(tools), "the driver has no tools")
    names = {tool.name for tool in tools}
    _require(len(names) == len(tools), "two tools have the same name")
    files = [tool.stdout for tool in tools if tool.stdout is not None]
    _require(len(set(files)) == len(files), "two tools write the same output")
    for tool in tools:
        where = f"tool {tool.name!r}: "
        _require(
            bool(tool.argv) and _texts(tool.argv) and tool.argv[0].startswith("/"),
            where + "argv[0] is not absolute",
        )
        _require(_environ(tool.environ), where + "environ is not plain text")
        _require(_positive(tool.timeout_s), where + f"timeout_s is {tool.timeout_s!r}")
        _require(
            type(tool.max_output_bytes) is int and tool.max_output_bytes >= 0,
            where + "max_output_bytes",
        )
        _require(
            _output_name(tool.stdout),
            where + f"stdout {tool.stdout!r} is not a plain file name of ours",
        )
        _require(
            set(tool.after) <= names,
            where + f"after names {sorted(set(tool.after) - names)}, which nobody runs",
        )
    try:
        TopologicalSorter({tool.name: tool.after for tool in tools}).prepare()
    except CycleError as error:
        raise BadCapsule(f"tools wait for one another: {' -> '.join(error.args[1])}") from error


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadCapsule(otherwise)


def _positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0


def _texts(values: tuple[str, ...]) -> bool:
    return all(isinstance(value, str) and "\0" not in value for value in values)


def _environ(environ: dict[str, str]) -> bool:
    return _texts((*environ, *environ.values())) and not any(
        "=" in name or not name for name in environ
    )


def _output_name(name: str | None) -> bool:
    return name is None or (
        name not in ("", ".", "..", RESULT) and "/" not in name and "\0" not in name
    )

"""The one table of the kinds that a capsule may name."""

import importlib

import pytest

from quality_gates.toolrun import ToolRun
from runners import protocol
from runners.protocol import Capsule, CommandDriver, PrepareDriver, ToolsDriver, capsule_from_json

TOOL = ToolRun(name="t", argv=("/bin/true",), timeout_s=1.0, after=())
EACH = {
    "command": CommandDriver(("sh", "-c", "true"), {"A": "b"}),
    "tools": ToolsDriver((TOOL,)),
    "prepare": PrepareDriver((TOOL,), "/out/env"),
}


def test_every_kind_of_the_table_has_a_module_that_runs_it():
    assert set(EACH) == set(protocol.DRIVERS)
    for kind in protocol.DRIVERS:
        assert callable(importlib.import_module(f"runners.drivers.{kind}").run)


@pytest.mark.parametrize("kind", EACH)
def test_a_capsule_is_read_as_it_was_written(kind):
    capsule = Capsule(run="r", stage="s", driver=EACH[kind], deadline_s=1.0)
    document = capsule.to_json()

    assert document["driver"]["kind"] == kind
    assert capsule_from_json(document) == capsule

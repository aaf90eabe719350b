"""What a stage's own result says of the platform."""

import pytest

from control_plane.orchestrator.results import want_of_us
from control_plane.repos.environments.inside import AWAY

TOOLS = [{"name": "start", "exit_code": 0}, {"name": "dependencies", "exit_code": AWAY}]


@pytest.mark.parametrize(
    ("stage", "result", "told"),
    [
        ("head", {"door_away": True}, "door"),
        ("base", {"door_away": True, "tools": None}, "door"),
        ("prepare", {"tools": TOOLS}, "index"),
        ("head", {"tools": TOOLS}, ""),
        ("execute", {"door_away": True, "tools": TOOLS}, ""),
        ("head", {"door_away": "yes"}, ""),
        ("prepare", {"tools": [75, None, {"exit_code": "75"}]}, ""),
        ("prepare", {"tools": TOOLS[:1]}, ""),
        ("head", {}, ""),
    ],
)
def test_only_what_the_platform_owes_is_its_fault(stage, result, told):
    why = want_of_us(stage, result)

    assert bool(why) == bool(told)
    assert told in why

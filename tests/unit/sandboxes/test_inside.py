"""Where things lie in a sandbox has one home in each room, and the homes agree."""

from pathlib import Path

import quality_gates
from control_plane.repos.environments import inside as preparing
from quality_gates import where
from runners import protocol
from sandboxes import inside

SCAN = Path(quality_gates.__file__).parent / "judge_plugin/scan_secrets.py"


def test_provider_runner_and_tools_agree_on_where_things_lie():
    assert (inside.WORKSPACE, inside.INPUTS, inside.OUT, inside.ENVIRONMENT, inside.IMAGE) == (
        where.WORKSPACE,
        where.INPUTS,
        where.OUT,
        where.ENV,
        where.IMAGE,
    )
    assert f"{inside.DOOR}/door.sock" == protocol.DOOR


def test_programs_that_run_alone_in_a_sandbox_say_the_same():
    own = (preparing.WORKSPACE, preparing.HOME, preparing.TARGET.parent, preparing.RECIPE.parent)

    assert tuple(map(str, own)) == (where.WORKSPACE, where.ENV, where.OUT, where.INPUTS)
    assert f'WORKSPACE = "{where.WORKSPACE}/"' in SCAN.read_text().splitlines()

"""What a sandbox is allowed, against what the runner in it needs."""

from uuid import UUID

import pytest

from control_plane.gateway.grants import STREAM_BYTES
from control_plane.orchestrator.specs import EXECUTE, PREPARE, judge_draft, session_draft
from control_plane.sessions.drivers import CommandDriver, Product
from quality_gates.model import Stage, StagePlan, TreeRecipe
from quality_gates.parsers.reading import MAX_BYTES
from sandboxes.names import SandboxName
from sandboxes.spec import Workspace

AT = Workspace("0" * 64)
DRAFTS = {
    "session": session_draft(
        run="r",
        driver=CommandDriver(("true",)),
        product=Product.PATCH,
        deadline_s=900.0,
        workspace=AT,
        environment=(),
        packet=b"{}",
    ),
    "judge": judge_draft(
        run="r",
        plan=StagePlan(Stage.STATIC, TreeRecipe("head"), (), {}, 300.0),
        workspace=AT,
        environment=(),
    ),
}


@pytest.mark.parametrize("draft", DRAFTS.values(), ids=DRAFTS)
def test_the_backstop_cuts_nobody_off_who_keeps_to_his_time(draft):
    runner, limits = draft.capsule, draft.limits

    after_its_start = runner.deadline_s + runner.grace_s + runner.upload_s

    assert limits.hydrate_s > 0
    assert limits.hydrate_s + after_its_start < limits.backstop_s


@pytest.mark.parametrize("draft", DRAFTS.values(), ids=DRAFTS)
def test_what_a_runner_sends_its_door_keeps(draft):
    assert draft.capsule.log_bytes <= min(STREAM_BYTES["stdout"], STREAM_BYTES["stderr"])
    assert draft.capsule.tests_bytes == STREAM_BYTES["tests"] <= MAX_BYTES


@pytest.mark.parametrize("stage", [EXECUTE, PREPARE, *map(str, Stage)])
def test_every_stage_has_room_in_a_sandboxs_name(stage):
    """A name is a label of the DNS, on every engine: 63 characters."""
    name = SandboxName("abcdef", UUID(int=2**128 - 1), stage, 99)

    assert SandboxName.parse(str(name)) == name
    assert len(str(name)) <= 63

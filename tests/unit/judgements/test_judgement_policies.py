"""A gate policy goes through the run's row unchanged."""

import json

from control_plane.judgements.policies import policy_from_json, policy_to_json
from quality_gates.model import GatePolicy, SecurityLevel, TaskType


def test_a_policy_comes_back_from_json_as_it_was():
    policy = GatePolicy(
        task_type=TaskType.BUGFIX,
        coverage_minimum=0.5,
        security_level=SecurityLevel.CRITICAL,
        testing_requirements=("New behaviour is tested",),
        test_changes_allowed=True,
        gates=("tests", "lint"),
    )

    assert policy_from_json(json.loads(json.dumps(policy_to_json(policy)))) == policy

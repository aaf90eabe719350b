"""What the gates are asked, as a row keeps it. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quality_gates.model import GatePolicy, SecurityLevel, TaskType


def policy_to_json(policy: GatePolicy) -> dict[str, Any]:
    """The document for the row."""
    return asdict(policy)


def policy_from_json(document: Mapping[str, Any]) -> GatePolicy:
    """The policy that `policy_to_json` wrote down.

    Raises KeyError or TypeError for any other document: a bug of ours.
    """
    return GatePolicy(
        **{
            **document,
            "task_type": TaskType(document["task_type"]),
            "security_level": SecurityLevel(document["security_level"]),
            "testing_requirements": tuple(document["testing_requirements"]),
            "gates": tuple(document["gates"]),
        }
    )

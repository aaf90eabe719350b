"""A gate policy as the run's row keeps it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quality_gates.model import GatePolicy, SecurityLevel, TaskType


def policy_to_json(policy: GatePolicy) -> dict[str, Any]:
    """The document for the row."""
    return asdict(policy)


def policy_from_json(document: Mapping[str, Any]) -> GatePolicy:
    """The policy that `policy_to_json` wrote; what is not said is the default. Raises TypeError for an unknown field."""
    stated = dict(document)
    for name, kind in (("task_type", TaskType), ("security_level", SecurityLevel)):
        if name in stated:
            stated[name] = kind(stated[name])
    for name in ("testing_requirements", "gates"):
        if name in stated:
            stated[name] = tuple(stated[name])
    return GatePolicy(**stated)

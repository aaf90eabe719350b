"""The packet of a change that somebody brings without one. Pure.

FEATURE or the type it is given, coverage 0.8, MEDIUM, the lint rules that the project keeps to.
"""

from datetime import datetime

from control_plane.agents.rules import Role
from control_plane.db.base import new_id
from control_plane.packets.rules import Priority
from control_plane.packets.schema import (
    CommunicationChannel,
    ContextPacket,
    Hierarchy,
    QualityGates,
    TaskDefinition,
    TechnicalContext,
)
from quality_gates.linting import PROJECT
from quality_gates.model import SecurityLevel, TaskType


def default_packet(
    project_key: str, module_key: str, now: datetime, task_type: TaskType = TaskType.FEATURE
) -> ContextPacket:
    """A packet that asks for what the gates ask of every change, under ids of its own."""
    own = new_id().hex
    return ContextPacket(
        schema_version="1.0",
        packet_id=f"ctx_{own}",
        trace_id=f"trace_{own}",
        timestamp=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        hierarchy=Hierarchy(
            project_id=project_key,
            module_id=module_key,
            assigned_agent_id="operator",
            assigned_agent_role=Role.SENIOR_DEV,
        ),
        task_definition=TaskDefinition(
            task_id=f"TASK-{own[:8]}-{own[-8:]}".upper(),
            summary="Judge a change that a person brought",
            priority=Priority.MEDIUM,
            task_type=task_type,
            acceptance_criteria=("Every gate passes",),
            requirements_links=(),
        ),
        technical_context=TechnicalContext(
            tech_stack=(), constraints=(), dependencies=(), shared_docs_refs=()
        ),
        quality_gates=QualityGates(
            testing_requirements=("New behaviour is tested",),
            linting_rules=PROJECT,
            coverage_minimum=0.8,
            security_level=SecurityLevel.MEDIUM,
        ),
        communication_channel=CommunicationChannel(
            supervisor_id="operator",
            escalation_trigger="IF_BLOCKED_10_MINUTES",
            allowed_contacts=("operator",),
            log_channel_id="operator",
        ),
    )

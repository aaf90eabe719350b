"""The ContextPacket (SPEC section 4.3): every field, every enum, nothing else. Pure.

The model keeps the document's values as they were written (timestamps stay text), so that its dump
is the document and has the document's hash.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo

from control_plane.agents.rules import Role
from control_plane.packets.rules import Priority
from quality_gates.model import SecurityLevel, TaskType

# No control characters but tab and line feed: PostgreSQL takes no NUL, and a terminal should not be
# steered by a packet.
_PRINTABLE = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"
_SHELL = re.compile(
    r"[;`|]|&&|\$[({]|>>|[<>]\s*[/(&]|^\s*\.{0,2}/|^\s*(?:pytest|python3?|npm|npx|node|make|bash|sh)\s"
)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)")
_LINK = r"^(?:vector://[a-z0-9][a-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9._-]*(?:#[A-Za-z0-9][A-Za-z0-9._-]*)?|(?:ARCH|SCHEMA|API)://[A-Za-z0-9][A-Za-z0-9._-]*)$"


def _timestamp(text: str) -> str:
    if not _RFC_3339.fullmatch(text):
        raise ValueError("a time with its zone is wanted (RFC 3339), such as 2025-11-23T14:00:00Z")
    datetime.fromisoformat(text)  # the 31st of February
    return text


def _prose(text: str) -> str:
    if _SHELL.search(text):
        raise ValueError(
            "this reads like a command; "
            "write what is to be tested as prose, a lead or QA maps it to tests"
        )
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _known_linting_rules(name: str, info: ValidationInfo) -> str:
    """Names are known to whoever parses; a bare model only checks the shape."""
    known = (info.context or {}).get("linting_rules")
    if callable(known):
        known(name)  # raises ValueError with a reason of its own
    elif known is not None and name not in known:
        raise ValueError(f"unknown linting rules; known are: {', '.join(sorted(known))}")
    return name


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Line = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4000, pattern=_PRINTABLE),
    AfterValidator(_not_blank),
]
Prose = Annotated[Line, AfterValidator(_prose)]
Link = Annotated[str, StringConstraints(max_length=512, pattern=_LINK)]
Timestamp = Annotated[
    str, AfterValidator(_timestamp), Field(json_schema_extra={"format": "date-time"})
]
Trigger = Annotated[
    str,
    StringConstraints(
        pattern=r"^IF_BLOCKED_(?:[1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440)_MINUTES$"
    ),
    Field(
        description="Minutes that an agent may be blocked before its question goes up: 1 to 1440."
    ),
]
LintingRules = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    AfterValidator(_known_linting_rules),
]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Hierarchy(_Part):
    """Where the work belongs, and who does it."""

    project_id: Id
    module_id: Id
    assigned_agent_id: Id
    assigned_agent_role: Role


class TaskDefinition(_Part):
    """What is asked."""

    task_id: Id
    summary: Line
    priority: Priority
    task_type: TaskType
    acceptance_criteria: Annotated[tuple[Line, ...], Field(min_length=1, max_length=100)]
    requirements_links: Annotated[tuple[Link, ...], Field(max_length=100)]


class Dependency(_Part):
    """A service that the work needs.

    One with a URL in `interface_def` is probed first (COMPANY section 8).
    """

    service_id: Id
    interface_def: Line


class TechnicalContext(_Part):
    """What it is built with, and what must be kept to."""

    tech_stack: Annotated[tuple[Line, ...], Field(max_length=100)]
    constraints: Annotated[tuple[Line, ...], Field(max_length=100)]
    dependencies: Annotated[tuple[Dependency, ...], Field(max_length=100)]
    shared_docs_refs: Annotated[tuple[Link, ...], Field(max_length=100)]


class QualityGates(_Part):
    """What the gates ask of the change."""

    testing_requirements: Annotated[tuple[Prose, ...], Field(min_length=1, max_length=100)]
    linting_rules: LintingRules
    coverage_minimum: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    security_level: SecurityLevel


class CommunicationChannel(_Part):
    """Whom the agent may ask."""

    supervisor_id: Id
    escalation_trigger: Trigger
    allowed_contacts: Annotated[tuple[Id, ...], Field(max_length=100)]
    log_channel_id: Id


class ContextPacket(_Part):
    """One assignment, whole: work is given by packets, not by chat (SPEC section 1.2)."""

    schema_version: Literal["1.0"]
    packet_id: Id
    trace_id: Id
    timestamp: Timestamp
    hierarchy: Hierarchy
    task_definition: TaskDefinition
    technical_context: TechnicalContext
    quality_gates: QualityGates
    communication_channel: CommunicationChannel

    def document(self) -> dict[str, Any]:
        """The packet as JSON values."""
        return self.model_dump(mode="json")


def json_schema() -> dict[str, Any]:
    """The published JSON Schema; `context-packet.schema.json` beside this module is its copy."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:virtual-software-company:context-packet:1.0",
    }
    return {**head, **ContextPacket.model_json_schema()}

"""Sessions on the wire."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from control_plane.api.schemas.base import ViewModel
from control_plane.sessions.rules import SessionStatus


class SessionView(ViewModel):
    """What a session is, and what it left."""

    agent_id: UUID | None
    driver: dict[str, Any]
    output_schema: dict[str, Any] | None
    environment_id: UUID | None
    head_tree: str | None
    patch_sha256: str | None
    refused: list[str]
    document_sha256: str | None
    valid_submits: int
    invalid_submits: int
    status: SessionStatus | None
    tokens_input: int
    tokens_output: int
    execution_time_ms: int | None
    estimated_cost_usd: Decimal
    context_request_count: int
    code_quality_score: Decimal | None

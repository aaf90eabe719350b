"""Judgements on the wire."""

from typing import Any
from uuid import UUID

from control_plane.api.schemas.base import ViewModel


class JudgementView(ViewModel):
    """What was judged, and how."""

    session_id: UUID | None
    """The session that made the patch; null: somebody brought it."""
    patch_sha256: str
    head_tree: str | None
    refused: list[str]
    policy: dict[str, Any]
    attempt: int
    environment_id: UUID | None
    report_sha256: str | None

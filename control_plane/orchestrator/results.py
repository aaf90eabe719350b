"""What a sandbox says of itself in `result.json`: hostile, like all that it leaves."""

import json
from collections.abc import Mapping
from typing import Any

from control_plane.blobs.ports import Blobs
from control_plane.orchestrator.specs import EXECUTE, PREPARE, RESULT_BYTES
from control_plane.repos.environments.inside import AWAY
from sandboxes.errors import BlobMissing, TooLarge
from sandboxes.spec import Artifact


async def read_document(blobs: Blobs, artifact: Artifact | None) -> dict[str, Any]:
    """A JSON object that a sandbox wrote; empty if there is none that can be read."""
    if artifact is None:
        return {}
    try:
        document = json.loads(await blobs.read(artifact.sha256, RESULT_BYTES))
    except (BlobMissing, TooLarge, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def want_of_us(stage: str, result: Mapping[str, Any]) -> str:
    """What the platform did not give to a stage of its own; empty: it had what it needed.

    An agent's sandbox is not asked: it would be started again for the asking.
    """
    if stage == EXECUTE:
        return ""
    if result.get("door_away") is True:
        return "nobody was at its door to take what its tests said"
    tools = result.get("tools") if stage == PREPARE else ()
    codes = [tool.get("exit_code") for tool in tools or () if isinstance(tool, dict)]
    return "the package index did not answer" if AWAY in codes else ""

"""Specs and outcomes as JSON documents and back.

Rows and records keep the same form, so that a restart asks for the very same.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sandboxes.spec import (
    Against,
    Artifact,
    Ended,
    Input,
    Limits,
    Output,
    SandboxOutcome,
    SandboxSpec,
    Usage,
    Workspace,
)


def spec_to_json(spec: SandboxSpec) -> dict[str, Any]:
    """The document of a spec."""
    return asdict(spec)


def spec_from_json(document: Mapping[str, Any]) -> SandboxSpec:
    """The spec that `spec_to_json` wrote down; its fingerprint is the same."""
    workspace = document["workspace"]
    return SandboxSpec(
        **{
            **document,
            "command": tuple(document["command"]),
            "limits": Limits(**document["limits"]),
            "inputs": tuple(Input(**one) for one in document["inputs"]),
            "outputs": tuple(Output(**one) for one in document["outputs"]),
            "workspace": None if workspace is None else _workspace(workspace),
            "environment": tuple(document["environment"]),
            "egress": tuple(document["egress"]),
        }
    )


def outcome_to_json(outcome: SandboxOutcome) -> dict[str, Any]:
    """The document of an outcome; times as ISO 8601."""
    return {
        **asdict(outcome),
        "ended": outcome.ended.value,
        "started_at": outcome.started_at.isoformat() if outcome.started_at else None,
        "finished_at": outcome.finished_at.isoformat() if outcome.finished_at else None,
    }


def outcome_from_json(document: Mapping[str, Any]) -> SandboxOutcome:
    """The outcome that `outcome_to_json` wrote down."""
    return SandboxOutcome(
        **{
            **document,
            "ended": Ended(document["ended"]),
            "started_at": _instant(document["started_at"]),
            "finished_at": _instant(document["finished_at"]),
            "usage": Usage(**document["usage"]),
            "outputs": _artifacts(document["outputs"]),
            "collected": _artifacts(document["collected"]),
        }
    )


def _workspace(document: Mapping[str, Any]) -> Workspace:
    against = document["against"]
    return Workspace(**{**document, "against": None if against is None else Against(against)})


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _artifacts(found: Mapping[str, Any]) -> dict[str, Artifact]:
    return {name: Artifact(**one) for name, one in found.items()}

"""A task's report as a JSON document; `report.schema.json` beside this file is its contract."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

from quality_gates.model import GateReport, TaskReport

FORMAT = 1


def to_json(report: TaskReport) -> dict[str, Any]:
    """Only JSON's own types; everything that a reader needs to check the verdict is in it."""
    return {
        "format": FORMAT,
        "verdict": str(report.verdict),
        "base_commit": report.base_commit,
        "patch_sha256": report.patch_sha256,
        "image": report.image,
        "environment_sha256": report.environment_sha256,
        "policy": _plain(asdict(report.policy)),
        "base_trouble": _plain(report.base_trouble),
        "gates": [_gate(gate) for gate in report.gates],
        "notes": list(report.notes),
    }


def schema() -> dict[str, Any]:
    """The JSON Schema of `to_json`."""
    document: dict[str, Any] = json.loads(
        resources.files("quality_gates").joinpath("report.schema.json").read_text("utf-8")
    )
    return document


def _gate(gate: GateReport) -> dict[str, Any]:
    document: dict[str, Any] = _plain(asdict(gate))
    if not gate.applicable:
        document["verdict"] = "not_applicable"
    return document


def _plain(value: object) -> Any:  # noqa: ANN401 -- JSON has no one type
    """Tuples as arrays, enums as their words, text that UTF-8 cannot hold as escapes."""
    if isinstance(value, Mapping):
        return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()
    return value

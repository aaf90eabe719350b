"""What a run's events say so far, as lines to show: one for each state, one for each sandbox.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_STATES = {
    "QUEUED": "queued",
    "HYDRATING": "hydrating",
    "EXECUTING": "executing",
    "DEHYDRATING": "dehydrating",
    "VERIFYING": "verifying",
}


@dataclass(slots=True)
class Line:
    """A thing that takes time. `ended_at` None: it is under way."""

    name: str
    depth: int
    began_at: datetime
    ended_at: datetime | None = None
    note: str = ""

    def seconds(self, now: datetime) -> float:
        """How long it took, or takes so far."""
        return max(0.0, ((self.ended_at or now) - self.began_at).total_seconds())


@dataclass(slots=True)
class Timeline:
    """Fed with events in order; `prefix` tells a shared run's sandboxes from the task's own."""

    lines: list[Line] = field(default_factory=list)
    _open: dict[str, Line] = field(default_factory=dict)

    def feed(self, event: Mapping[str, Any], prefix: str = "") -> None:
        """Take one event in."""
        at = datetime.fromisoformat(event["at"])
        kind, payload = event["kind"], event["payload"]
        if kind in ("queued", "state") and not prefix:
            self._state(payload.get("to", "QUEUED"), at)
        elif kind in ("stage.planned", "stage.launched", "stage.ended"):
            self._stage(kind, payload, at, prefix)
        elif kind in ("judged.again", "platform.failure", "cancel.requested") and not prefix:
            self.lines.append(Line(_remark(kind, payload), 1, at, at))

    def stages(self) -> list[dict[str, Any]]:
        """Every line that has ended, for `--json`."""
        return [
            {"name": line.name, "seconds": round(line.seconds(line.ended_at), 3), "note": line.note}
            for line in self.lines
            if line.ended_at is not None
        ]

    def _state(self, state: str, at: datetime) -> None:
        if (before := self._open.pop("state", None)) is not None:
            before.ended_at = at
        if state in _STATES:
            self._begin("state", Line(_STATES[state], 0, at))

    def _stage(self, kind: str, payload: Mapping[str, Any], at: datetime, prefix: str) -> None:
        name = f"{prefix}{payload['stage']}" + (
            f" (launch {payload['n'] + 1})" if payload["n"] else ""
        )
        line = self._open.get(name)
        if kind == "stage.ended":
            line = self._open.pop(name, None)
            if line is not None:
                line.ended_at = at
                line.note = (
                    ""
                    if payload["ended"] == "completed"
                    else f"{payload['ended']} {payload['detail']}".strip()
                )
        elif line is None:
            self._begin(name, Line(name, 1, at))
        else:
            line.began_at = at  # launched: the time before was waiting for a free place

    def _begin(self, name: str, line: Line) -> None:
        self._open[name] = line
        self.lines.append(line)


def _remark(kind: str, payload: Mapping[str, Any]) -> str:
    if kind == "judged.again":
        return f"judged {payload['verdict']}; judging the same patch again"
    if kind == "cancel.requested":
        return "cancel requested"
    return f"the platform failed and tries again: {payload.get('error', payload.get('cause', ''))}"[
        :300
    ]

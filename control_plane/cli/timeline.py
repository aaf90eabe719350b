"""What a task's events say so far, as lines to show. Pure.

A task has two halves, session and judgement: a line for each, below it one for each state, and
below that one for each sandbox.
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
_HALVES = {"session": "session", "judge": "judgement"}
"""The kind of a run -> what it is called here."""


@dataclass(slots=True)
class Line:
    """A thing that takes time. `ended_at` None: it is under way."""

    name: str
    depth: int
    began_at: datetime
    ended_at: datetime | None = None
    note: str = ""
    half: str = ""
    """Which half of the task it belongs to."""

    def seconds(self, now: datetime) -> float:
        """How long it took, or takes so far."""
        return max(0.0, ((self.ended_at or now) - self.began_at).total_seconds())


@dataclass(slots=True)
class Timeline:
    """Fed with events in order; `shared` is the kind of a shared run that the task awaits."""

    lines: list[Line] = field(default_factory=list)
    _half: str = ""
    _open: dict[str, Line] = field(default_factory=dict)

    def feed(self, event: Mapping[str, Any], shared: str = "") -> None:
        """Take one event in."""
        at = datetime.fromisoformat(event["at"])
        kind, payload = event["kind"], event["payload"]
        if kind == "queued" and not shared:
            self._begin_half(_HALVES[payload["run"]], at)
        if kind in ("queued", "state") and not shared:
            self._state(payload.get("to", "QUEUED"), at)
        elif kind in ("stage.planned", "stage.launched", "stage.ended"):
            self._stage(kind, payload, at, shared)
        elif kind in ("judged.again", "platform.failure", "cancel.requested") and not shared:
            self.lines.append(Line(_remark(kind, payload), 2, at, at, half=self._half))

    def stages(self) -> list[dict[str, Any]]:
        """What has ended below the halves, for `--json`."""
        return [
            {
                "half": line.half,
                "name": line.name,
                "seconds": round(line.seconds(line.ended_at), 3),
                "note": line.note,
            }
            for line in self.lines
            if line.ended_at is not None and line.depth > 0
        ]

    def _begin_half(self, half: str, at: datetime) -> None:
        self._half = half
        self._begin("half", Line(half, 0, at, half=half))

    def _state(self, state: str, at: datetime) -> None:
        if (before := self._open.pop("state", None)) is not None:
            before.ended_at = at
        if state in _STATES:
            self._begin("state", Line(_STATES[state], 1, at, half=self._half))
        elif (half := self._open.pop("half", None)) is not None:
            half.ended_at = at

    def _stage(self, kind: str, payload: Mapping[str, Any], at: datetime, shared: str) -> None:
        stage = payload["stage"]
        name = stage if shared in ("", stage) else f"{shared}: {stage}"
        if payload["n"]:
            name += f" (launch {payload['n'] + 1})"
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
            self._begin(name, Line(name, 2, at, half=self._half))
        else:
            # Launched: the time before was waiting for a free place.
            line.began_at = at

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

"""Runs, their events and their sandboxes on the wire."""

from datetime import datetime
from typing import Any
from uuid import UUID

from control_plane.api.schemas.base import ViewModel
from control_plane.api.schemas.judgements import JudgementView
from control_plane.api.schemas.sessions import SessionView
from control_plane.runs.rules import RunKind, RunState, SandboxState
from quality_gates.model import Verdict


class SandboxView(ViewModel):
    """One sandbox of a run."""

    id: UUID
    stage: str
    n: int
    name: str
    state: SandboxState
    created_at: datetime
    launched_at: datetime | None
    ended_at: datetime | None
    ended: str | None
    exit_code: int | None
    detail: str


class RunView(ViewModel):
    """A run."""

    id: UUID
    kind: RunKind
    task_id: UUID | None
    repo_id: UUID
    base_commit: str
    state: RunState
    verdict: Verdict | None
    cause: str
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    waiting_for: UUID | None
    """The shared run (an environment, the base's evidence) that this one has asked for last."""
    session: SessionView | None
    """Of a session: its driver and what it left."""
    judgement: JudgementView | None
    """Of a judge run: its patch and its report."""


class RunDetails(RunView):
    """A run with its sandboxes, in the order in which they were planned."""

    sandboxes: list[SandboxView]


class EventView(ViewModel):
    """What happened to a run, numbered from 1 without gaps."""

    seq: int
    at: datetime
    kind: str
    payload: dict[str, Any]


class Events(ViewModel):
    """Some events in order. `ended`: the run is over and these are the last."""

    items: list[EventView]
    next: int
    """The `after` of the next request."""
    ended: bool
    state: RunState
    verdict: Verdict | None

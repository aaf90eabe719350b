"""Tasks on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from control_plane.api.schemas.base import Line, Sha256, StrictModel, ViewModel
from control_plane.api.schemas.runs import RunView
from control_plane.packets.rules import Priority
from control_plane.runs.rules import RunState
from control_plane.sessions import drivers
from control_plane.tasks.rules import TaskStatus
from quality_gates.model import TaskType, Verdict

Word = Annotated[str, StringConstraints(max_length=32_000)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class CommandDriver(StrictModel):
    """The change is what this command does to the workspace, in a sandbox without a network."""

    kind: Literal["command"]
    argv: Annotated[list[Word], Field(min_length=1, max_length=1000)]
    environ: Annotated[dict[VariableName, Word], Field(default_factory=dict)]

    def inside(self) -> drivers.Driver:
        """The same, as the rest of the house knows it."""
        return drivers.CommandDriver(tuple(self.argv), dict(self.environ))


Driver = CommandDriver
"""All drivers, by their `kind`; a new one joins here and in `sessions.drivers.KINDS`."""


class NewTask(StrictModel):
    """A piece of work.

    Without a packet: `task_type` (FEATURE), coverage 0.8, MEDIUM, ruff's defaults.
    """

    repository: Line
    base: Line = "HEAD"
    patch: Sha256 | None = None
    """The change is there already: an uploaded patch (`POST /v1/blobs`). This or a driver."""
    driver: Driver | None = None
    module: Line | None = None
    packet: dict[str, Any] | None = None
    task_type: Annotated[TaskType | None, Field(strict=False)] = None
    test_changes_allowed: bool = False
    dependency_changes_allowed: bool = False
    deadline_s: Annotated[float, Field(gt=0, le=86_400, strict=False, allow_inf_nan=False)] = 900.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.patch is None) == (self.driver is None):
            raise ValueError("give either a patch (the change) or a driver (what makes it)")
        return self

    @model_validator(mode="after")
    def _one_type(self) -> Self:
        if self.packet is not None and self.task_type is not None:
            raise ValueError(
                "a packet says its type itself: leave task_type out, or change the packet"
            )
        return self


class TaskView(ViewModel):
    """A task, and its newest run."""

    id: UUID
    key: str
    status: TaskStatus
    task_type: TaskType
    priority: Priority
    module_id: UUID | None
    repo_id: UUID | None
    base_commit: str | None
    retry_count: int
    created_by: str
    created_at: datetime
    run_id: UUID | None
    run_state: RunState | None
    verdict: Verdict | None
    cause: str


class TaskDetails(TaskView):
    """A task, what it was given, and its halves: who made the change, what was found of it."""

    patch_sha256: str | None
    driver: dict[str, Any] | None
    test_changes_allowed: bool
    dependency_changes_allowed: bool
    context_packet: dict[str, Any] | None
    session: RunView | None
    """The newest session; null: the change was brought."""
    judgement: RunView | None
    """The newest judge run; null: there is nothing to judge (yet)."""
    earlier_judgements: list[RunView]
    """The judge runs before that, the newest first; `GET /runs?task=` has them all."""

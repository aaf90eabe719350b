"""What is wrong with a request about a session; its sender must change it."""

from uuid import UUID


class PartOfTask(Exception):
    """The session belongs to a task, which is what its sender must cancel."""

    def __init__(self, run_id: UUID, task_id: UUID) -> None:
        super().__init__(
            f"session {run_id} is part of a task: cancel that (POST /v1/tasks/{task_id}/cancel)"
        )

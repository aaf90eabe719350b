"""A task's run, state by state: each handler does the one next thing and writes it down."""

import asyncio
from collections.abc import Awaitable, Callable

from control_plane.orchestrator.execution import Execution
from control_plane.orchestrator.lease import Again, Lease
from control_plane.orchestrator.task_moves import TaskMoves
from control_plane.orchestrator.verification import Verification
from control_plane.runs.models import Run
from control_plane.runs.rules import RunState

Handler = Callable[[Run, Lease, asyncio.Event], Awaitable[Run | Again]]


class TaskRuns:
    """Drives runs of kind `task`."""

    def __init__(self, moves: TaskMoves, execution: Execution, verification: Verification) -> None:
        self._moves = moves
        self._handlers: dict[RunState, Handler] = {
            RunState.QUEUED: execution.queued,
            RunState.HYDRATING: execution.hydrating,
            RunState.EXECUTING: execution.executing,
            RunState.DEHYDRATING: execution.dehydrating,
            RunState.VERIFYING: verification.verifying,
        }

    async def step(self, run: Run, lease: Lease, cancelled: asyncio.Event) -> Run | Again:
        """Do the next thing.

        A cancel is seen between two things, and at once where a sandbox lives.

        What has been executed is dehydrated first: work in progress is kept.
        """
        wanted = run.cancel_requested_at is not None or cancelled.is_set()
        if wanted and run.state not in (RunState.EXECUTING, RunState.DEHYDRATING):
            return await self._moves.move(
                run, lease, RunState.CANCELLED, cause="cancelled by request"
            )
        return await self._handlers[run.state](run, lease, cancelled)

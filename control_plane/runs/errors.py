"""What can go wrong when a run or a task moves."""

from uuid import UUID


class IllegalMove(Exception):
    """The state does not allow this move; the caller must look at the row again."""

    def __init__(self, what: str, which: UUID, from_: str, to: str) -> None:
        super().__init__(f"{what} {which} cannot go from {from_} to {to}")
        self.which, self.from_, self.to = which, from_, to


class LeaseLost(Exception):
    """The run has passed to another worker (or nobody holds it).

    Drop what was being done and claim again.
    """

    def __init__(self, run_id: UUID) -> None:
        super().__init__(f"run {run_id} has passed to another worker")
        self.run_id = run_id

"""What is wrong with a submission; the sender must change it."""


class IdempotencyConflict(Exception):
    """The Idempotency-Key was used for another submission; a new submission needs a new key."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r} was used for another submission; a new one needs a new key"
        )


class NotJudgedAgain(Exception):
    """The task cannot be judged again now; its sender must wait, or submit the change anew."""

    def __init__(self, key: str, status: str) -> None:
        super().__init__(
            f"task {key} is {status}: it is judged again only when no run of it is under way, and"
            " before it is approved or cancelled; wait for its run, or submit the change again"
        )

"""What is wrong with a submission; the sender must change it."""


class IdempotencyConflict(Exception):
    """The Idempotency-Key was used for another submission; a new submission needs a new key."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r} was used for another submission; a new one needs a new key"
        )

"""What can go wrong with the collector; the class says who must act."""


class AlreadyCollecting(Exception):
    """Another process collects; look again when it has ended."""


class StoreNotJoined(Exception):
    """No home of this database has ever worked with this blob store; its operator must act."""

    def __init__(self) -> None:
        super().__init__(
            "no home of this database has worked with this blob store, so its rows cannot say what"
            " in it is wanted; see that VSC_DATABASE_URL and VSC_BLOBS belong together (`vsc up`"
            " over both makes it so)"
        )

"""What can keep a home from joining; the class says who must act."""


class StoreTaken(Exception):
    """The blob store is that of another database; its operator must act."""

    def __init__(self) -> None:
        super().__init__(
            "this blob store belongs to another database, whose blobs would be collected as named"
            " by nothing; set VSC_DATABASE_URL to that database, or VSC_BLOBS to a store (a"
            " bucket's prefix, a directory) of this one's own"
        )


class BlobsElsewhere(Exception):
    """The home has another blob store than the database's other homes; its operator must act."""

    def __init__(self) -> None:
        super().__init__(
            "this home's blob store is not that of the other homes of this database; set VSC_BLOBS"
            " to what they have: an S3 address, or one directory that all of them see"
        )

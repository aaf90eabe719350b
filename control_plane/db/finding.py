"""Finding a row by its key or its id."""

from uuid import UUID


class NotFound(LookupError):
    """No such row; the caller has a wrong id or key."""

    def __init__(self, what: str, which: object) -> None:
        super().__init__(f"no {what} {which}")
        self.what, self.which = what, which


def as_id(text: str) -> UUID | None:
    """The id that `text` is, if it is one; None matches no row."""
    try:
        return UUID(text)
    except ValueError:
        return None

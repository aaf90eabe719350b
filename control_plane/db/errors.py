"""What can go wrong with the database; the operator must act."""


class DatabaseUnavailable(Exception):
    """No database, and the message says what to do about it."""


class MigrationFailed(Exception):
    """The schema could not be brought up to date."""

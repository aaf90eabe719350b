"""How a session ends. Pure."""

from enum import StrEnum


class SessionStatus(StrEnum):
    """SPEC section 5.8."""

    SUCCESS = "success"
    FAILURE = "failure"

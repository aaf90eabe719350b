"""What a step of a trace can be (SPEC section 4.5)."""

from enum import StrEnum


class ActionType(StrEnum):
    """SPEC section 4.5."""

    READ_CONTEXT = "READ_CONTEXT"
    THOUGHT = "THOUGHT"
    TOOL_CALL = "TOOL_CALL"
    TOOL_RESULT = "TOOL_RESULT"
    CONTEXT_REQUEST = "CONTEXT_REQUEST"
    ERROR = "ERROR"
    KILL = "KILL"

"""Why an agent asks (SPEC section 4.4)."""

from enum import StrEnum


class IssueType(StrEnum):
    """SPEC section 4.4."""

    MISSING_INFORMATION = "MISSING_INFORMATION"
    AMBIGUITY = "AMBIGUITY"
    CONFLICT = "CONFLICT"
    BLOCKED_DEPENDENCY = "BLOCKED_DEPENDENCY"

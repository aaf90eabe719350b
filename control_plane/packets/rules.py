"""What a packet can ask for (DESIGN section 8)."""

from enum import StrEnum


class Priority(StrEnum):
    """DESIGN section 8; declared from low to high."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

"""Where a project or a module stands (SPEC section 4.2)."""

from enum import StrEnum


class ProjectStatus(StrEnum):
    """SPEC section 4.2; a module's status is the same list (DESIGN section 8)."""

    PLANNED = "PLANNED"
    ACTIVE = "ACTIVE"
    ON_HOLD = "ON_HOLD"
    COMPLETED = "COMPLETED"


ModuleStatus = ProjectStatus

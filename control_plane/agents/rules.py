"""Roles and their levels (SPEC sections 2.1 and 4.1; COMPANY section 1)."""

from enum import StrEnum


class Role(StrEnum):
    """SPEC's ten, and the four that DESIGN section 8 adds."""

    CEO = "CEO"
    CTO = "CTO"
    PM = "PM"
    TEAM_LEAD = "TeamLead"
    SENIOR_DEV = "SeniorDev"
    MID_DEV = "MidDev"
    JUNIOR_DEV = "JuniorDev"
    QA = "QA"
    SECURITY = "Security"
    OPS = "Ops"
    ARCHITECT = "Architect"
    DELIVERY_MANAGER = "DeliveryManager"
    SOCRATIC_INTERROGATOR = "SocraticInterrogator"
    CANARY_PROBER = "CanaryProber"


class AgentStatus(StrEnum):
    """SPEC section 4.1."""

    IDLE = "IDLE"
    BUSY = "BUSY"
    RESTRICTED = "RESTRICTED"
    OFFLINE = "OFFLINE"


_LEVELS = {
    4: (Role.CEO, Role.CTO),
    3: (Role.PM, Role.TEAM_LEAD, Role.DELIVERY_MANAGER),
    2: (Role.ARCHITECT, Role.SENIOR_DEV),
    1: (Role.MID_DEV, Role.JUNIOR_DEV),
    0: (Role.QA, Role.SECURITY, Role.OPS, Role.SOCRATIC_INTERROGATOR, Role.CANARY_PROBER),
}
_LEVEL_OF = {role: level for level, roles in _LEVELS.items() for role in roles}


def level_of(role: Role) -> int:
    """4 (executive) to 0 (support and assurance); it follows from the role alone."""
    return _LEVEL_OF[role]

"""What an agent can be (SPEC sections 2.1 and 4.1)."""

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

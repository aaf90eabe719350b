"""What a process of the control plane can be; no name: all three in one."""

from enum import StrEnum


class Part(StrEnum):
    """`vsc up --only ...`."""

    API = "api"
    ORCHESTRATOR = "orchestrator"
    GATEWAY = "gateway"

"""The caps that a door keeps whatever comes through it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DoorCaps:
    """What hostile code can take of the control plane through one door."""

    connections: int = 64
    first_byte_s: float = 60.0
    """An idle connection that never said anything."""
    head_s: float = 10.0
    """From the first byte of a request to the end of its head."""
    body_idle_s: float = 30.0
    body_total_s: float = 900.0
    head_bytes: int = 16 * 2**10
    request_bytes: int = 2**20
    close_s: float = 2.0
    """What is still being answered when the door closes gets this long."""
    egress_attempts: int = 2_000
    """Each attempt is an audit row; past this number they are refused without one."""
    dial_s: float = 15.0
    tunnel_idle_s: float = 120.0
    tunnel_total_s: float = 1_800.0
    tunnel_up_bytes: int = 64 * 2**20
    tunnel_down_bytes: int = 8 * 2**30

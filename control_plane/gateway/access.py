"""What one sandbox may do at its door, and the caps that a door keeps whatever comes through it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from runners.protocol import Stream

_STREAM_CAPS_BYTES: Mapping[Stream, int] = {"stdout": 8 * 2**20, "stderr": 8 * 2**20, "tests": 32 * 2**20}


@dataclass(frozen=True, slots=True)
class DoorAccess:
    """Whose door it is and what the stage of its sandbox allows."""

    run_id: UUID
    sandbox_id: UUID
    stage: str
    capsule: bytes
    outputs: Mapping[str, int] = field(default_factory=dict)
    """Declared output -> its byte limit; any other name is a 404."""
    egress: tuple[str, ...] = ()
    """`host:port` or `host:port,private`; only a `prepare` stage may have any."""
    stream_caps: Mapping[Stream, int] = field(default_factory=lambda: dict(_STREAM_CAPS_BYTES))
    """Bytes of each stream that are kept; a stream that is not named is refused."""

    def __post_init__(self) -> None:
        """Raises ValueError for egress in a stage that executes what was judged or will be judged."""
        if self.egress and self.stage != "prepare":
            raise ValueError(f"stage {self.stage!r} has no egress; only prepare does")


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

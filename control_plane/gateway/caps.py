"""The caps that a door keeps whatever comes through it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DoorCaps:
    """What hostile code can take of the control plane through one door."""

    connections: int = 64
    """On each of its two sockets."""
    first_byte_s: float = 60.0
    """An idle connection that never said anything."""
    head_s: float = 10.0
    """From the first byte of a request to the end of its head."""
    body_idle_s: float = 30.0
    body_total_s: float = 900.0
    connection_s: float = 1_800.0
    """The longest that one request and its answer may take together."""
    head_bytes: int = 16 * 2**10
    request_bytes: int = 2**20
    request_chunks: int = 64
    requests_at_once: int = 100
    """Requests that are answered however fast they come; then `requests_per_s` of them."""
    requests_per_s: float = 40.0
    """The runner sends at most 20: it gathers for 50 ms."""
    stream_rows: int = 10_000
    """One row for each request that brings something of the stream; the runner's pace fits."""
    close_s: int = 2
    """What is still being answered when the door closes gets this long."""
    egress_attempts: int = 2_000
    """Each attempt is an audit row; past this number they are refused without one."""
    dial_s: float = 15.0
    tunnel_idle_s: float = 120.0
    tunnel_total_s: float = 1_800.0
    tunnel_up_bytes: int = 64 * 2**20
    tunnel_down_bytes: int = 8 * 2**30

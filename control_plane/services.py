"""What the operator API is built over; the composition root fills it."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.blobs.ports import Blobs
from control_plane.db.engine import Sessions
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.wake import WakeHub
from quality_gates.model import TaskReport
from runners.tree_rules import PATCH_BYTES

Probe = Callable[[], Coroutine[Any, Any, str]]
"""Says in a few words how a part is.

Raises if it is not fit for work, and the message says what to do.
"""


def nobody_waits() -> None:
    """No worker lives in this process; where one does, `NOTIFY` wakes it."""


@dataclass(frozen=True, slots=True)
class Services:
    """Passed to `control_plane.api.app.create_app`."""

    sessions: Sessions
    mirrors: Mirrors
    snapshots: Snapshots
    blobs: Blobs
    pages: Mapping[str, Callable[[TaskReport], str]]
    """A report for people to read."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    """Name (`database`, `docker`, `images`) -> how to find out."""
    wake: WakeHub = field(default_factory=WakeHub)
    """Wakes who watches; one that is not served makes them poll."""
    poke: Callable[[], None] = nobody_waits
    """Called after a commit that gives a worker something to do."""
    upload_bytes: int = PATCH_BYTES
    """Bytes of an uploaded patch or archive."""
    local_paths: bool = True
    """Whether repositories may be imported from this machine's directories.

    Off where the API serves other machines.
    """

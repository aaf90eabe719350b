"""Whose door it is and what may be asked there, read from the sandbox's row alone.

A row's spec never changes, so two gateways that read it serve the same door.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from control_plane.gateway.grants import STREAM_BYTES, Verb, granted
from control_plane.runs.models import Sandbox
from control_plane.sessions.documents import DOCUMENT
from runners import protocol
from runners.protocol import Stream
from sandboxes.documents import spec_from_json
from sandboxes.spec import SandboxSpec


@dataclass(frozen=True, slots=True)
class DoorAccess:
    """One sandbox at its door."""

    run_id: UUID
    sandbox_id: UUID
    verbs: frozenset[Verb]
    capsule: str
    """The blob that holds its capsule."""
    egress: tuple[str, ...] = ()
    """`host:port` or `host:port,private`."""
    stream_bytes: Mapping[Stream, int] = field(default_factory=lambda: dict(STREAM_BYTES))


def access_of(row: Sandbox) -> DoorAccess:
    """What the sandbox of this row may ask.

    Raises:
        NotGranted: its spec asks for more than its stage may have.
        TypeError, ValueError, KeyError, StopIteration: the row's spec makes no sense.
    """
    spec = spec_from_json(row.spec)
    return DoorAccess(
        run_id=row.run_id,
        sandbox_id=row.id,
        verbs=granted(row.stage, spec.egress, document=_wants_document(spec)),
        capsule=capsule_of(spec),
        egress=spec.egress,
    )


def _wants_document(spec: SandboxSpec) -> bool:
    """A session has this output where it has an output schema, and only there."""
    return any(one.name == DOCUMENT for one in spec.outputs)


def capsule_of(spec: SandboxSpec) -> str:
    """The blob that holds the capsule of a sandbox."""
    return next(one.sha256 for one in spec.inputs if one.path == protocol.CAPSULE)

"""The gateway's root: the doors of the sandboxes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from control_plane.gateway.door import Doors
from control_plane.gateway.sinks import AuditLog, BlobOutputs, PostgresChunks
from control_plane.processes.ground import Ground


@asynccontextmanager
async def open_gateway(ground: Ground) -> AsyncIterator[Doors]:
    """Doors that close when the body ends. Sandboxes that live on find new ones later."""
    outputs = BlobOutputs(ground.blobs)
    doors = Doors(PostgresChunks(ground.sessions), outputs, AuditLog(ground.sessions))
    try:
        yield doors
    finally:
        await doors.close_all()

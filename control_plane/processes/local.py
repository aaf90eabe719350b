"""API, orchestrator and gateway in one process: `vsc up`, or one `vsc check`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from control_plane.api.app import create_app
from control_plane.orchestrator.reconcile import Reconciler
from control_plane.orchestrator.worker import Worker
from control_plane.processes.api import services_of
from control_plane.processes.engines import OpenEngine, open_engine
from control_plane.processes.gateway import marks_of, open_gateway
from control_plane.processes.ground import open_ground
from control_plane.processes.orchestrator import open_orchestrator
from control_plane.services import Services
from control_plane.settings import Settings


@dataclass(frozen=True, slots=True)
class Company:
    """A control plane at work: application, services, and the loops that run beside it."""

    settings: Settings
    services: Services
    app: FastAPI
    worker: Worker
    reconciler: Reconciler


@asynccontextmanager
async def open_company(
    settings: Settings, engine: OpenEngine = open_engine
) -> AsyncIterator[Company]:
    """Bring everything up over `settings.home` and drive runs while somebody is inside.

    Sandboxes are left to the next holder. A test passes an engine of its own.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database.
        ProviderUnavailable, ImageMissing: no engine, or no runner image (`make images`).
    """
    async with (
        open_ground(settings) as ground,
        engine(ground) as opened,
        open_gateway(ground, marks_of(opened.site), opened.provider.door) as doors,
        open_orchestrator(ground, opened, doors) as orchestrator,
    ):
        services = services_of(
            ground,
            poke=orchestrator.worker.poke,
            probes={"engine": opened.probe, "doors": doors.probe},
        )
        yield Company(
            settings,
            services,
            create_app(services),
            orchestrator.worker,
            orchestrator.reconciler,
        )

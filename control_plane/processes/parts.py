"""Each part of the control plane as a process that answers: all three, or one of them.

The API answers at its own address; the two others at one that tells their health alone.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI

from control_plane.api import health
from control_plane.api.app import create_app
from control_plane.gateway.keeper import DistantGateway
from control_plane.processes.api import compared, open_api, services_of
from control_plane.processes.engines import open_engine
from control_plane.processes.gateway import doors_of_home, marks_of_home, open_gateway
from control_plane.processes.ground import open_ground
from control_plane.processes.local import open_company
from control_plane.processes.names import Part
from control_plane.processes.orchestrator import open_orchestrator
from control_plane.services import Services
from control_plane.settings import (
    ApiSettings,
    GatewaySettings,
    GroundSettings,
    OrchestratorSettings,
    Settings,
)


@dataclass(frozen=True, slots=True)
class Serving:
    """What a process answers with."""

    app: FastAPI
    services: Services


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of process."""

    settings: type[GroundSettings]
    """All that it reads from the environment."""
    open: Callable[[Any], AbstractAsyncContextManager[Serving]]
    """Takes these settings; the process works while somebody is inside.

    Raises:
        DatabaseUnavailable, MigrationFailed: no database.
        ProviderUnavailable, ImageMissing: it needs an engine and a runner image, and has not both.
    """
    port: int
    is_api: bool = False


@asynccontextmanager
async def _all(settings: Settings) -> AsyncIterator[Serving]:
    async with open_company(settings) as company:
        yield Serving(company.app, company.services)


@asynccontextmanager
async def _api(settings: ApiSettings) -> AsyncIterator[Serving]:
    async with open_api(settings) as services:
        yield Serving(create_app(services), services)


@asynccontextmanager
async def _orchestrator(settings: OrchestratorSettings) -> AsyncIterator[Serving]:
    """The loops that drive runs. Their doors are served by a gateway over the same home."""
    async with (
        open_ground(settings) as ground,
        open_engine(ground) as engine,
        open_orchestrator(ground, engine, DistantGateway(ground.sessions)),
    ):
        yield _told(services_of(ground, probes={"engine": engine.probe}))


@asynccontextmanager
async def _gateway(settings: GatewaySettings) -> AsyncIterator[Serving]:
    """The doors of the sandboxes of this home; no engine is asked."""
    async with open_ground(settings) as ground:
        await compared(ground)
        async with open_gateway(ground, marks_of_home(ground), doors_of_home(ground)) as doors:
            yield _told(services_of(ground, probes={"doors": doors.probe}))


def _told(services: Services) -> Serving:
    """Health alone, without a token: it gives away nothing but how this process is."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.services = services
    api = APIRouter(prefix="/v1")
    api.include_router(health.router)
    app.include_router(api)
    return Serving(app, services)


KINDS: Mapping[Part | None, Kind] = {
    None: Kind(Settings, _all, 8420, is_api=True),
    Part.API: Kind(ApiSettings, _api, 8420, is_api=True),
    Part.ORCHESTRATOR: Kind(OrchestratorSettings, _orchestrator, 8421),
    Part.GATEWAY: Kind(GatewaySettings, _gateway, 8422),
}

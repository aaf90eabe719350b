"""Whether the process is alive, and whether what it needs is fit for work."""

import asyncio
from typing import Literal

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel

from control_plane.api.bounded import bounded
from control_plane.api.deps import ServicesDep
from control_plane.api.strict import StrictRoute
from control_plane.services import Probe

router = APIRouter(route_class=StrictRoute, prefix="/health", tags=["health"])
_PROBE_S = 5.0
_log = structlog.get_logger(__name__)


class Alive(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Part(BaseModel):
    """One thing that the platform needs."""

    ok: bool
    detail: str


class Ready(BaseModel):
    """Everything that the platform needs."""

    status: Literal["ready", "not_ready"]
    parts: dict[str, Part]


@router.get("/live")
async def live() -> Alive:
    """Answers without a token and without looking at anything."""
    return Alive()


@router.get("/ready", responses={503: {"model": Ready}})
async def ready(services: ServicesDep, response: Response) -> Ready:
    """Looks at every part; 503 if one is not fit for work, with what to do."""
    names = list(services.probes)
    parts = await asyncio.gather(*(_look(services.probes[name]) for name in names))
    fit = all(part.ok for part in parts)
    response.status_code = 200 if fit else 503
    return Ready(status="ready" if fit else "not_ready", parts=dict(zip(names, parts, strict=True)))


async def _look(probe: Probe) -> Part:
    try:
        return Part(ok=True, detail=await bounded(probe(), _PROBE_S))
    except TimeoutError:
        return Part(ok=False, detail=f"no answer in {_PROBE_S:g} s")
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with a part is the answer, not our failure
        _log.warning("health.probe_failed", error=repr(error))
        return Part(ok=False, detail=str(error)[:500] or type(error).__name__)

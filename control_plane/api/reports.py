"""Routes of reports: JSON, Markdown for people, and what CI systems show."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from control_plane.api.deps import ServicesDep
from control_plane.api.description import media
from control_plane.api.strict import StrictRoute
from control_plane.gate_reports import service
from control_plane.services import Services
from quality_gates.report import to_json

router = APIRouter(route_class=StrictRoute, tags=["reports"])
_PAGES = {
    "md": "text/markdown",
    "github": "text/plain",
    "gitlab": "application/json",
    "sarif": "application/sarif+json",
    "junit": "application/xml",
}
_MEDIA = media("application/json", *_PAGES.values())
Format = Annotated[
    Literal["json", "md", "github", "gitlab", "sarif", "junit"], Query(alias="format")
]
# What a report quotes is hostile text: it is never to be taken for a page.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
}


@router.get("/runs/{run}/report", response_class=Response, responses=_MEDIA)
async def run_report(run: UUID, services: ServicesDep, form: Format = "json") -> Response:
    """The report of one run."""
    async with services.sessions() as session:
        found = await service.report_of_run(session, run)
    return await _answer(services, found, form)


@router.get("/tasks/{task}/report", response_class=Response, responses=_MEDIA)
async def task_report(task: str, services: ServicesDep, form: Format = "json") -> Response:
    """The newest report of a task."""
    async with services.sessions() as session:
        found = await service.report_of_task(session, task)
    return await _answer(services, found, form)


async def _answer(services: Services, found: service.Found, form: str) -> Response:
    if found.page is not None:
        report = to_json(found.page)
    else:
        report = await service.read_report(services.blobs, found.sha256 or "")
    if form in _PAGES:
        return PlainTextResponse(
            services.pages[form](found.page or service.report_of(report)),
            media_type=_PAGES[form],
            headers=_HEADERS,
        )
    return JSONResponse(report, headers=_HEADERS)

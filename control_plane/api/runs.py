"""Routes of runs: the row, events as a cursor, logs as a stream."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import select
from sse_starlette import EventSourceResponse

from control_plane.api.deps import ServicesDep, SessionDep
from control_plane.api.description import media
from control_plane.api.halves import document_of, patch_sha256_of, run_views
from control_plane.api.pages import After, Limit, Page, page_of
from control_plane.api.schemas.runs import Events, EventView, RunDetails, RunView, SandboxView
from control_plane.api.strict import StrictRoute
from control_plane.runs import logs, service
from control_plane.runs.models import Run, RunEvent, Sandbox
from control_plane.runs.rules import RunState
from control_plane.sessions.documents import DOCUMENT_BYTES
from control_plane.tasks.service import find_task

router = APIRouter(route_class=StrictRoute, tags=["runs"])
_MOST = 2**31 - 1
_EVENT_STREAM = "text/event-stream"
_STREAMED = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@router.get("/runs")
async def list_runs(
    session: SessionDep,
    task: str | None = None,
    state: RunState | None = None,
    after: After = None,
    limit: Limit = 50,
) -> Page[RunView]:
    """Runs, the newest first; of one task, if it is named."""
    query = select(Run)
    if task is not None:
        query = query.where(Run.task_id == (await find_task(session, task)).id)
    if state is not None:
        query = query.where(Run.state == state)
    rows, cursor = await page_of(session, query, Run.id, after, limit)
    return Page(items=await run_views(session, rows), next=cursor)


@router.get("/runs/{run}")
async def show_run(run: UUID, session: SessionDep) -> RunDetails:
    """One run with its sandboxes."""
    found = await service.find_run(session, run)
    sandboxes = [_sandbox(row) for row in await service.sandboxes_of(session, run)]
    [own] = await run_views(session, [found])
    return RunDetails(**own.model_dump(), sandboxes=sandboxes)


@router.get("/runs/{run}/patch", response_class=Response, responses=media("text/x-diff"))
async def run_patch(run: UUID, services: ServicesDep) -> Response:
    """What a session left (work in progress, if it failed or was cancelled), or what was judged."""
    async with services.sessions() as session:
        sha256 = await patch_sha256_of(session, run)
    content = await service.read_patch(services.blobs, sha256)
    return Response(content, media_type="text/x-diff", headers=_attached(f"{run}.patch"))


@router.get("/runs/{run}/document", response_class=Response, responses=media("application/json"))
async def run_document(run: UUID, services: ServicesDep) -> Response:
    """The document that a session left. Whether it is valid, the session's `status` says."""
    async with services.sessions() as session:
        sha256 = await document_of(session, run)
    content = await services.blobs.read(sha256, DOCUMENT_BYTES)
    return Response(content, media_type="application/json", headers=_attached(f"{run}.json"))


@router.get("/runs/{run}/events", response_model=Events)
async def run_events(
    run: UUID,
    request: Request,
    services: ServicesDep,
    *,
    after: Annotated[int, Query(ge=0, le=_MOST)] = 0,
    limit: Limit = 100,
    wait_s: Annotated[float, Query(ge=0, le=30, allow_inf_nan=False)] = 0.0,
    last_event_id: Annotated[int | None, Header(ge=0, le=_MOST)] = None,
) -> Events | Response:
    """Events after a number, in order; `wait_s` holds the answer until there is one.

    For `Accept: text/event-stream` all of them as they come, from `Last-Event-ID` on; then `end`.
    """
    if _EVENT_STREAM in request.headers.get("accept", ""):
        async with services.sessions() as session:
            await service.find_run(session, run)
        since = after if last_event_id is None else last_event_id
        followed = service.follow_events(services.sessions, run, since, services.wake)
        return EventSourceResponse(_run_events(followed), headers=_STREAMED, sep="\n")
    found, events, ended = await service.events_after(
        services.sessions, run, after, limit, wait_s, services.wake
    )
    items = [EventView.model_validate(event) for event in events]
    return Events(
        items=items,
        next=items[-1].seq if items else after,
        ended=ended,
        state=found.state,
        verdict=found.verdict,
    )


@router.get(
    "/runs/{run}/logs",
    response_class=StreamingResponse,
    responses=media("application/x-ndjson", "text/event-stream"),
)
async def run_logs(
    run: UUID,
    request: Request,
    services: ServicesDep,
    *,
    stage: Annotated[str | None, Query(max_length=40)] = None,
    stream: Literal["stdout", "stderr", "tests"] | None = None,
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
    follow: bool = False,
) -> Response:
    """The log as NDJSON (or as server-sent events, for `Accept: text/event-stream`).

    The last record says `"end": true`.
    """
    if offset and (stage is None or stream is None):
        raise HTTPException(
            400, "an offset counts bytes of one stream: name the stage and the stream"
        )
    async with services.sessions() as session:
        await service.find_run(session, run)
    wanted = logs.Wanted(stage, (stream,) if stream else ("stdout", "stderr"), offset)
    records = logs.read(
        services.sessions, services.blobs, run, wanted, follow=follow, wake=services.wake
    )
    if _EVENT_STREAM in request.headers.get("accept", ""):
        return EventSourceResponse(_events(records), headers=_STREAMED, sep="\n")
    return StreamingResponse(_lines(records), media_type="application/x-ndjson", headers=_STREAMED)


def _attached(filename: str) -> dict[str, str]:
    """What an agent wrote is never shown as a page of ours."""
    return {
        "content-disposition": f'attachment; filename="{filename}"',
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
    }


async def _lines(records: AsyncIterator[logs.Record]) -> AsyncIterator[bytes]:
    async for record in records:
        yield json.dumps(record).encode() + b"\n"


async def _events(records: AsyncIterator[logs.Record]) -> AsyncIterator[dict[str, str]]:
    async for record in records:
        yield {"event": "end" if record.get("end") else "log", "data": json.dumps(record)}


async def _run_events(
    followed: AsyncIterator[tuple[Run, list[RunEvent], bool]],
) -> AsyncIterator[dict[str, str]]:
    async for run, events, ended in followed:
        for event in events:
            document = EventView.model_validate(event).model_dump_json()
            yield {"id": str(event.seq), "event": "event", "data": document}
        if ended:
            end = {"state": run.state, "verdict": run.verdict, "cause": run.cause}
            yield {"event": "end", "data": json.dumps(end)}


def _sandbox(row: Sandbox) -> SandboxView:
    outcome = row.outcome or {}
    names = set(SandboxView.model_fields) - {"ended", "exit_code", "detail"}
    return SandboxView(
        **{name: getattr(row, name) for name in names},
        ended=outcome.get("ended"),
        exit_code=outcome.get("exit_code"),
        detail=outcome.get("detail", ""),
    )

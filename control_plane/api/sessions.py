"""Routes of sessions that are asked for by themselves: the product is a document."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, status
from pydantic import Field

from control_plane.api.deps import OperatorDep, ServicesDep
from control_plane.api.halves import run_views
from control_plane.api.schemas.base import Line, StrictModel
from control_plane.api.schemas.runs import RunView
from control_plane.api.schemas.tasks import Driver
from control_plane.api.strict import StrictRoute
from control_plane.audit.service import append_line
from control_plane.repos.service import find_repository
from control_plane.runs import service as runs
from control_plane.sessions.documents import check_schema
from control_plane.sessions.service import cancel, queue_session

router = APIRouter(route_class=StrictRoute, tags=["sessions"])


class NewSession(StrictModel):
    """An agent that looks at a repository and leaves a document. What it changes is dropped."""

    repository: Line
    base: Line = "HEAD"
    driver: Driver
    output_schema: dict[str, Any]
    """JSON Schema (draft 2020-12) that refers to nothing outside itself."""
    deadline_s: Annotated[float, Field(gt=0, le=86_400, strict=False, allow_inf_nan=False)] = 900.0


@router.post("/sessions", status_code=status.HTTP_202_ACCEPTED)
async def ask_for_document(
    new: NewSession, services: ServicesDep, operator: OperatorDep
) -> RunView:
    """Queue a session without a task; its run says how it goes."""
    check_schema(new.output_schema)
    async with services.sessions() as session:
        repo = await find_repository(session, new.repository)
    base_commit = await services.mirrors.resolve(repo.id.hex, new.base)
    await services.snapshots.ensure(repo.id, base_commit)  # any home may have to begin it
    async with services.sessions.begin() as session:
        run_id = await queue_session(
            session,
            repo_id=repo.id,
            base_commit=base_commit,
            deadline_s=new.deadline_s,
            driver=new.driver.inside(),
            output_schema=new.output_schema,
        )
        await append_line(
            session,
            chain=run_id,
            actor=operator.name,
            action="session.ask",
            subject=f"run:{run_id}",
            facts={"base_commit": base_commit, "driver": new.driver.model_dump()},
        )
        [view] = await run_views(session, [await runs.find_run(session, run_id)])
    services.poke()
    return view


@router.post("/sessions/{run}/cancel", status_code=status.HTTP_202_ACCEPTED)
async def cancel_session(run: UUID, services: ServicesDep, operator: OperatorDep) -> RunView:
    """Ask for the end of a session without a task, by its run.

    It ends soon after; a document that it has handed in is kept.
    """
    async with services.sessions.begin() as session:
        found = await cancel(session, run, by=operator.name)
        await append_line(
            session,
            chain=run,
            actor=operator.name,
            action="session.cancel",
            subject=f"run:{run}",
        )
        await session.refresh(found)
        [view] = await run_views(session, [found])
    services.poke()
    return view

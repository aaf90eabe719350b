"""Routes of tasks."""

from typing import Annotated

from fastapi import APIRouter, Header, status
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.deps import OperatorDep, ServicesDep, SessionDep
from control_plane.api.halves import run_views
from control_plane.api.pages import After, Limit, Page, page_of
from control_plane.api.schemas.tasks import NewTask, TaskDetails, TaskView
from control_plane.api.strict import StrictRoute
from control_plane.judgements.service import newest_judgement
from control_plane.repos.service import find_repository
from control_plane.runs.models import Run
from control_plane.tasks import service
from control_plane.tasks.models import Task
from control_plane.tasks.rules import TaskStatus

router = APIRouter(route_class=StrictRoute, tags=["tasks"])
IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)
]


@router.post("/tasks", status_code=status.HTTP_202_ACCEPTED)
async def submit_task(
    new: NewTask,
    services: ServicesDep,
    operator: OperatorDep,
    idempotency_key: IdempotencyKey = None,
) -> TaskDetails:
    """Queue a task; a worker picks it up later."""
    async with services.sessions() as session:
        repo = await find_repository(session, new.repository)
    base_commit = await services.mirrors.resolve(repo.id.hex, new.base)
    await services.snapshots.ensure(repo.id, base_commit)  # any home may have to begin it
    if new.patch is not None:
        await services.blobs.renew(new.patch)  # BlobMissing before anything is queued
    submission = service.Submission(
        repo_id=repo.id,
        base_commit=base_commit,
        patch_sha256=new.patch,
        driver=new.driver.inside() if new.driver is not None else None,
        module=new.module,
        packet=new.packet,
        task_type=new.task_type,
        test_changes_allowed=new.test_changes_allowed,
        dependency_changes_allowed=new.dependency_changes_allowed,
        deadline_s=new.deadline_s,
        idempotency_key=idempotency_key,
    )
    async with services.sessions.begin() as session:
        task = await service.submit(session, submission, by=operator.name)
        view = await _details(session, task)
    services.poke()
    return view


@router.get("/tasks")
async def list_tasks(
    session: SessionDep, status: TaskStatus | None = None, after: After = None, limit: Limit = 50
) -> Page[TaskView]:
    """Tasks, the newest first."""
    query = select(Task) if status is None else select(Task).where(Task.status == status)
    rows, cursor = await page_of(session, query, Task.id, after, limit)
    runs = await service.latest_runs(session, [row.id for row in rows])
    return Page(items=[TaskView(**_facts(row, runs.get(row.id))) for row in rows], next=cursor)


@router.get("/tasks/{task}")
async def show_task(task: str, session: SessionDep) -> TaskDetails:
    """One task, by key or id."""
    return await _details(session, await service.find_task(session, task))


@router.post("/tasks/{task}/cancel", status_code=status.HTTP_202_ACCEPTED)
async def cancel_task(task: str, services: ServicesDep, operator: OperatorDep) -> TaskDetails:
    """Ask for the end of a task.

    A live run ends soon after; what it had done is kept as a patch.
    """
    async with services.sessions.begin() as session:
        found = await service.find_task(session, task)
        await service.cancel(session, found, by=operator.name)
        await session.refresh(found)
        view = await _details(session, found)
    services.poke()
    return view


@router.post("/tasks/{task}/judge", status_code=status.HTTP_202_ACCEPTED)
async def judge_task(task: str, services: ServicesDep, operator: OperatorDep) -> TaskDetails:
    """Judge the task's newest patch once more. Nobody works on it again for that."""
    async with services.sessions() as session:
        known = await service.find_task(session, task)
    if known.repo_id is not None and known.base_commit is not None:
        await services.snapshots.ensure(known.repo_id, known.base_commit)
    async with services.sessions.begin() as session:
        found = await service.judge_again(session, task, by=operator.name)
        newest = await newest_judgement(session, found.id)
        if newest is not None:  # BlobMissing, and nothing is queued
            await services.blobs.renew(newest.patch_sha256)
        view = await _details(session, found)
    services.poke()
    return view


async def _details(session: AsyncSession, task: Task) -> TaskDetails:
    runs = await service.latest_runs(session, [task.id])
    made, judged = await service.halves_of(session, task.id)
    judgements = await run_views(session, judged)
    policy = task.policy or {}
    return TaskDetails(
        **_facts(task, runs.get(task.id)),
        patch_sha256=task.patch_sha256,
        driver=task.driver,
        test_changes_allowed=policy.get("test_changes_allowed", False),
        dependency_changes_allowed=policy.get("dependency_changes_allowed", False),
        context_packet=task.context_packet,
        session=next(iter(await run_views(session, made)), None),
        judgement=judgements[0] if judgements else None,
        earlier_judgements=judgements[1:],
    )


def _facts(task: Task, run: Run | None) -> dict[str, object]:
    names = set(TaskView.model_fields) - {"run_id", "run_state", "verdict", "cause"}
    newest = (
        {"run_id": run.id, "run_state": run.state, "verdict": run.verdict, "cause": run.cause}
        if run
        else {"run_id": None, "run_state": None, "verdict": None, "cause": ""}
    )
    return {name: getattr(task, name) for name in names} | newest

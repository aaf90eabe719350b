"""Submitting, finding and cancelling tasks."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.audit.service import append_line
from control_plane.db.base import new_id
from control_plane.db.finding import NotFound, as_id
from control_plane.judgements.policies import policy_to_json
from control_plane.judgements.service import newest_judgement, queue_judgement
from control_plane.packets.parse import validate_packet
from control_plane.packets.schema import ContextPacket
from control_plane.packets.service import store_packet
from control_plane.projects.models import Module, Project
from control_plane.projects.service import default_module, find_module
from control_plane.runs.errors import IllegalMove
from control_plane.runs.models import Run
from control_plane.runs.moves import ask_to_stop
from control_plane.runs.rules import TERMINAL as ENDED
from control_plane.runs.rules import RunKind
from control_plane.sessions.drivers import Driver, driver_to_json
from control_plane.sessions.service import queue_session
from control_plane.tasks.defaults import default_packet
from control_plane.tasks.errors import IdempotencyConflict, NotJudgedAgain
from control_plane.tasks.models import Task
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import JUDGED_AGAIN, TERMINAL, TaskStatus
from quality_gates.linting import RULES
from quality_gates.model import GatePolicy, TaskType


@dataclass(frozen=True, slots=True)
class Submission:
    """What is asked.

    The repository is imported, the base is a whole commit id, the patch is a blob.
    """

    repo_id: UUID
    base_commit: str
    patch_sha256: str | None = None
    """The change that somebody brings; either this, or a `driver`."""
    driver: Driver | None = None
    """What a session runs to make the change."""
    module: str | None = None
    packet: Mapping[str, Any] | None = None
    task_type: TaskType | None = None
    """Of the packet that is made when none is given; None: FEATURE."""
    test_changes_allowed: bool = False
    dependency_changes_allowed: bool = False
    deadline_s: float = 900.0
    idempotency_key: str | None = None


async def submit(session: AsyncSession, submission: Submission, by: str) -> Task:
    """Store the packet, and queue the task with its first run, in the caller's one transaction.

    With an idempotency key, the same submission by the same operator finds the first task.

    A change that is brought is judged at once; else a session makes it first.

    Raises:
        PacketInvalid, PacketTaken, NotFound: the packet or the module is not usable.
        IdempotencyConflict: the key was used for another submission.
    """
    if (submission.patch_sha256 is None) == (submission.driver is None):
        raise ValueError("a submission has either a patch or a driver")
    packet, module = await _packet_and_module(session, submission)
    key, request_sha256 = _key_of(submission, packet, by), _request_sha256(submission)
    task_id, policy = new_id(), policy_to_json(policy_of(packet, submission))
    driver = driver_to_json(submission.driver) if submission.driver is not None else None
    row = {
        "id": task_id,
        "key": key,
        "module_id": module.id,
        "task_type": packet.task_definition.task_type,
        "priority": packet.task_definition.priority,
        "context_packet": packet.document(),
        "status": TaskStatus.QUEUED,
        "repo_id": submission.repo_id,
        "base_commit": submission.base_commit,
        "patch_sha256": submission.patch_sha256,
        "driver": driver,
        "policy": policy,
        "deadline_s": submission.deadline_s,
        "request_sha256": request_sha256,
        "created_by": by,
    }
    if not await _inserted(session, row):
        if submission.idempotency_key is not None:
            return await _same(session, submission.idempotency_key, key, request_sha256)
        row["key"] = (
            # the packet's own id is taken: this is another task from it
            f"{key}-{task_id.hex[-8:].upper()}"
        )
        await _inserted(session, row)
    stored = await store_packet(session, packet)
    await append_line(
        session,
        chain=task_id,
        actor=by,
        action="task.submit",
        subject=f"task:{task_id}",
        facts={
            "packet_sha256": stored.sha256,
            "base_commit": submission.base_commit,
            "patch_sha256": submission.patch_sha256,
            "driver": driver,
        },
    )
    task = await session.get_one(Task, task_id)
    task.packet_id = stored.id
    await _queue_first_run(session, task, submission)
    return task


def policy_of(packet: ContextPacket, submission: Submission) -> GatePolicy:
    """What the gates are to ask of the change."""
    gates = packet.quality_gates
    return GatePolicy(
        task_type=packet.task_definition.task_type,
        coverage_minimum=gates.coverage_minimum,
        security_level=gates.security_level,
        linting_rules=gates.linting_rules,
        testing_requirements=gates.testing_requirements if submission.packet is not None else (),
        test_changes_allowed=submission.test_changes_allowed,
        dependency_changes_allowed=submission.dependency_changes_allowed,
    )


async def find_task(session: AsyncSession, which: str) -> Task:
    """By key or id. Raises NotFound."""
    found = await session.scalar(
        select(Task).where(or_(Task.key == which, Task.id == as_id(which)))
    )
    if found is None:
        raise NotFound("task", which)
    return found


async def latest_runs(session: AsyncSession, task_ids: list[UUID]) -> dict[UUID, Run]:
    """Each task's newest run."""
    newest = (
        select(Run)
        .where(Run.task_id.in_(task_ids))
        .order_by(Run.task_id, Run.id.desc())
        .ext(distinct_on(Run.task_id))
    )
    return {
        run.task_id: run for run in (await session.scalars(newest)).all() if run.task_id is not None
    }


MOST_JUDGEMENTS = 21
"""Of a task, as many are shown beside its session; a list of its runs has them all."""


async def halves_of(session: AsyncSession, task_id: UUID) -> tuple[list[Run], list[Run]]:
    """The task's newest session, if it has one, and its newest judge runs, the newest first."""
    newest = select(Run).where(Run.task_id == task_id).order_by(Run.id.desc())
    made = await session.scalars(newest.where(Run.kind == RunKind.SESSION).limit(1))
    judged = await session.scalars(newest.where(Run.kind == RunKind.JUDGE).limit(MOST_JUDGEMENTS))
    return list(made), list(judged)


async def cancel(session: AsyncSession, task: Task, by: str) -> None:
    """Ask for the end of the task. A live run is stopped by whoever drives it; twice is harmless.

    Raises:
        IllegalMove: the task has ended otherwise.
    """
    while (run_id := await _live_run(session, task.id)) is not None:
        if await ask_to_stop(session, run_id, by):
            return
        # It ended while we looked; a session that ended well has queued its judge run.
    await session.refresh(task)
    if task.status is TaskStatus.CANCELLED:
        return
    if task.status in TERMINAL:
        raise IllegalMove("task", task.id, task.status, TaskStatus.CANCELLED)
    await move_task(session, task.id, TaskStatus.CANCELLED, cause="cancelled by request", actor=by)


async def judge_again(session: AsyncSession, which: str, by: str) -> Task:
    """Queue a new judge run of the task's newest patch: no session works again for that.

    Raises:
        NotFound: no such task, or it has no patch that was ever to be judged.
        IllegalMove: a run of it is under way, or nothing more can come of it.
    """
    task_id = (await find_task(session, which)).id
    task = await session.get_one(
        Task, task_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if task.status not in JUDGED_AGAIN or await _live_run(session, task.id) is not None:
        raise NotJudgedAgain(task.key, task.status)
    newest = await newest_judgement(session, task.id)
    if newest is None:
        raise NotFound("patch to judge of task", f"{task.key}: its session left none")
    run = await session.get_one(Run, newest.run_id)
    run_id = await queue_judgement(
        session,
        task_id=task.id,
        repo_id=run.repo_id,
        base_commit=run.base_commit,
        deadline_s=run.deadline_s,
        policy=newest.policy,
        patch_sha256=newest.patch_sha256,
        session_id=newest.session_id,
        head_tree=newest.head_tree if newest.session_id is not None else None,
        refused=newest.refused if newest.session_id is not None else (),
    )
    await append_line(
        session,
        chain=task.id,
        actor=by,
        action="task.judge",
        subject=f"run:{run_id}",
        facts={"patch_sha256": newest.patch_sha256},
    )
    return task


async def _live_run(session: AsyncSession, task_id: UUID) -> UUID | None:
    live = select(Run.id).where(Run.task_id == task_id, Run.state.not_in(ENDED))
    found: UUID | None = await session.scalar(live.order_by(Run.id.desc()).limit(1))
    return found


async def _packet_and_module(
    session: AsyncSession, submission: Submission
) -> tuple[ContextPacket, Module]:
    module = (
        await find_module(session, submission.module)
        if submission.module
        else await default_module(session)
    )
    if submission.packet is not None:
        return validate_packet(submission.packet, linting_rules=RULES), module
    project = await session.get_one(Project, module.project_id)
    task_type = submission.task_type or TaskType.FEATURE
    return default_packet(project.key, module.key, datetime.now(UTC), task_type), module


def _key_of(submission: Submission, packet: ContextPacket, by: str) -> str:
    """SPEC's id where a packet names one.

    With an idempotency key, a name that the same request makes again.
    """
    if submission.idempotency_key is not None:
        same = json.dumps([by, submission.idempotency_key]).encode()
        return f"TASK-{hashlib.sha256(same).hexdigest()[:24].upper()}"
    return packet.task_definition.task_id


async def _inserted(session: AsyncSession, row: dict[str, Any]) -> bool:
    statement = (
        insert(Task)
        .values(row)
        .on_conflict_do_nothing(index_elements=[Task.key])
        .returning(Task.id)
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def _same(session: AsyncSession, idempotency_key: str, key: str, request_sha256: str) -> Task:
    known = await find_task(session, key)
    if known.request_sha256 != request_sha256:
        raise IdempotencyConflict(idempotency_key)
    return known


def _request_sha256(submission: Submission) -> str:
    request = asdict(submission) | {"repo_id": str(submission.repo_id), "idempotency_key": None}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


async def _queue_first_run(session: AsyncSession, task: Task, submission: Submission) -> None:
    if submission.driver is not None:
        await queue_session(
            session,
            task_id=task.id,
            packet_id=task.packet_id,
            repo_id=submission.repo_id,
            base_commit=submission.base_commit,
            deadline_s=submission.deadline_s,
            driver=submission.driver,
        )
    if submission.patch_sha256 is not None:
        await queue_judgement(
            session,
            task_id=task.id,
            repo_id=submission.repo_id,
            base_commit=submission.base_commit,
            deadline_s=submission.deadline_s,
            policy=task.policy or {},
            patch_sha256=submission.patch_sha256,
        )

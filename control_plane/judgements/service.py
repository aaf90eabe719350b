"""Queueing and finding judgements."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.base import new_id
from control_plane.judgements.models import Judgement
from control_plane.runs.models import Run
from control_plane.runs.moves import queue_run
from control_plane.runs.rules import RunKind
from quality_gates.model import Verdict

AGAINST_THE_AUTHOR = (Verdict.FAILED, Verdict.TAMPERED)


async def queue_judgement(
    session: AsyncSession,
    *,
    task_id: UUID,
    repo_id: UUID,
    base_commit: str,
    deadline_s: float,
    policy: Mapping[str, Any],
    patch_sha256: str,
    session_id: UUID | None = None,
    head_tree: str | None = None,
    refused: Sequence[str] = (),
) -> UUID:
    """Queue the judge run of a patch, in the caller's transaction.

    `head_tree` and `refused` are known of a session's patch; of one that somebody brings they are
    worked out when it is hydrated.
    """
    run = Run(
        id=new_id(),
        kind=RunKind.JUDGE,
        task_id=task_id,
        repo_id=repo_id,
        base_commit=base_commit,
        deadline_s=deadline_s,
    )
    await queue_run(session, run)
    session.add(
        Judgement(
            run_id=run.id,
            session_id=session_id,
            patch_sha256=patch_sha256,
            head_tree=head_tree,
            refused=list(refused),
            policy=dict(policy),
        )
    )
    await session.flush()
    return run.id


async def newest_judgement(session: AsyncSession, task_id: UUID) -> Judgement | None:
    """The task's newest judgement."""
    query = select(Judgement).join(Run, Run.id == Judgement.run_id).where(Run.task_id == task_id)
    found: Judgement | None = await session.scalar(query.order_by(Run.id.desc()).limit(1))
    return found


async def was_held_against_its_author(session: AsyncSession, run: Run, patch_sha256: str) -> bool:
    """Whether an earlier judgement of the same patch for the same task was a rejection."""
    query = select(Run.id).join(Judgement, Judgement.run_id == Run.id)
    earlier = query.where(
        Run.task_id == run.task_id,
        Run.id != run.id,
        Judgement.patch_sha256 == patch_sha256,
        Run.verdict.in_(AGAINST_THE_AUTHOR),
    )
    return await session.scalar(earlier.limit(1)) is not None

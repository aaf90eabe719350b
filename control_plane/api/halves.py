"""A run and the half that belongs to it: its session or its judgement."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.schemas.judgements import JudgementView
from control_plane.api.schemas.runs import RunView
from control_plane.api.schemas.sessions import SessionView
from control_plane.db.finding import NotFound
from control_plane.judgements.models import Judgement
from control_plane.runs.models import Run
from control_plane.runs.service import find_run
from control_plane.sessions.models import AgentSession


async def run_views(session: AsyncSession, runs: Sequence[Run]) -> list[RunView]:
    """In the order of `runs`; two queries, however many there are."""
    ids = [run.id for run in runs]
    made = await session.scalars(select(AgentSession).where(AgentSession.run_id.in_(ids)))
    sessions = {row.run_id: SessionView.model_validate(row) for row in made}
    found = await session.scalars(select(Judgement).where(Judgement.run_id.in_(ids)))
    judgements = {row.run_id: JudgementView.model_validate(row) for row in found}
    own = set(RunView.model_fields) - {"session", "judgement"}
    return [
        RunView(
            **{name: getattr(run, name) for name in own},
            session=sessions.get(run.id),
            judgement=judgements.get(run.id),
        )
        for run in runs
    ]


async def patch_sha256_of(session: AsyncSession, run_id: UUID) -> str:
    """The blob that holds what a session left, finished or not, or the patch that a run judges.

    Raises NotFound, also before there is one.
    """
    run = await find_run(session, run_id)
    made = select(AgentSession.patch_sha256).where(AgentSession.run_id == run_id)
    judged = select(Judgement.patch_sha256).where(Judgement.run_id == run_id)
    sha256: str | None = await session.scalar(made) or await session.scalar(judged)
    if sha256 is None:
        asked = select(AgentSession.output_schema).where(AgentSession.run_id == run_id)
        why = (
            "what its sandbox left has not been collected"
            if await session.scalar(asked) is None
            else "it was asked for a document, which is at /document"
        )
        raise NotFound("patch of run", f"{run_id} ({run.state.value}): {why}")
    return sha256


async def document_of(session: AsyncSession, run_id: UUID) -> str:
    """The blob that holds a session's document; while it lives, the newest that was taken.

    Raises NotFound, also before there is one.
    """
    run = await find_run(session, run_id)
    made = select(AgentSession.document_sha256).where(AgentSession.run_id == run_id)
    sha256: str | None = await session.scalar(made)
    if sha256 is None:
        raise NotFound("document of run", f"{run_id} ({run.state.value}): none has been taken")
    return sha256

"""Runs as the API shows them: the row, and the half that belongs to it."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.judgements.models import Judgement
from control_plane.judgements.schemas import JudgementView
from control_plane.runs.models import Run
from control_plane.runs.schemas import RunView
from control_plane.sessions.models import AgentSession
from control_plane.sessions.schemas import SessionView


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

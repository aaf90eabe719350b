"""Environments, found by what they are made of."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from control_plane.orchestrator.children import Wanted, last_ended
from control_plane.orchestrator.recipes import Recipes
from control_plane.repos.environments.prepare import PROGRAM
from control_plane.repos.models import EnvironmentRow
from control_plane.runs.models import Run
from control_plane.runs.rules import TERMINAL, RunKind, RunState
from quality_gates.model import Environment

_IN_VAIN = TERMINAL - {RunState.FINISHED}
"""Ends of a prepare run that has made nothing. What a finished one made may be collected since."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An environment that is there."""

    id: UUID
    layers: tuple[str, ...]
    facts: Environment


@dataclass(frozen=True, slots=True)
class Unpreparable:
    """There is no such environment, and an attempt to make it has just failed."""

    reason: str


class EnvironmentCache:
    """Looks for environments; makes none (see `prepare_runs`)."""

    def __init__(
        self, *, sessions: async_sessionmaker[AsyncSession], recipes: Recipes, image: str
    ) -> None:
        self._sessions, self._recipes, self._image = sessions, recipes, image

    async def find(self, run: Run, judged: str) -> Prepared | Wanted | Unpreparable:
        """The environment for base's build files and what `judged`, a tree or commit, requires."""
        recipe = await self._recipes.of(run, judged)
        key = recipe.key(self._image, PROGRAM.read_bytes(), run.repo_id.hex, run.base_commit)
        used = update(EnvironmentRow).where(EnvironmentRow.cache_key == key)
        async with self._sessions.begin() as session:
            before = await last_ended(session, RunKind.PREPARE, key)
            # The child first: one that ends after this look has its environment in the next one.
            child = await session.get(Run, run.waiting_for) if run.waiting_for else None
            # Found and used at once: see `retention`.
            row = await session.scalar(used.values(used_at=func.now()).returning(EnvironmentRow))
        if row is not None:
            return _prepared(row)
        if child is not None and child.cache_key == key and child.state in _IN_VAIN:
            return Unpreparable(
                f"the environment could not be prepared (run {child.id}): {child.cause}"
            )
        return Wanted(
            kind=RunKind.PREPARE,
            cache_key=key,
            repo_id=run.repo_id,
            base_commit=run.base_commit,
            deadline_s=run.deadline_s,
            judged=judged,
            last_ended=before,
        )

    async def by_id(self, environment_id: UUID) -> Prepared:
        """One that was found before."""
        async with self._sessions() as session:
            return _prepared(await session.get_one(EnvironmentRow, environment_id))


def _prepared(row: EnvironmentRow) -> Prepared:
    # An environment of before `made` and the version were known has none.
    listed = {name: tuple(row.facts.get(name, ())) for name in ("pytest_plugins", "notes", "made")}
    version = row.facts.get("python_version")
    known = {**listed, "python_version": None if version is None else tuple(version)}
    return Prepared(row.id, tuple(row.layers), Environment(**{**row.facts, **known}))

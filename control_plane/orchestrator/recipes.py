"""What two trees ask to be installed: read out of the mirrors, worked out once."""

from collections.abc import Mapping

from control_plane.repos.environments.detect import EnvironmentRecipe, detect
from control_plane.repos.listings import dependency_files, readable
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.trees import Trees
from control_plane.runs.models import Run

_RECIPES_KEPT = 256


class Recipes:
    """Remembers the newest of them: neither tree can change under its id."""

    def __init__(self, mirrors: Mirrors) -> None:
        self._mirrors, self._trees = mirrors, Trees(mirrors)
        self._recipes: dict[tuple[str, str, str], EnvironmentRecipe] = {}

    async def of(self, run: Run, judged: str) -> EnvironmentRecipe:
        """The recipe for base's build files and the requirements of the tree or commit `judged`."""
        key = (run.repo_id.hex, run.base_commit, judged)
        if key not in self._recipes:
            recipe = await self._detected(run, judged)
            if len(self._recipes) >= _RECIPES_KEPT:
                self._recipes.clear()
            self._recipes[key] = recipe
        return self._recipes[key]

    async def _detected(self, run: Run, judged: str) -> EnvironmentRecipe:
        repo = run.repo_id.hex
        base_tree = await self._mirrors.tree_of(repo, run.base_commit)
        base_files, tree = await self._dependency_files(repo, base_tree)
        if judged in (run.base_commit, base_tree):
            return detect(base_files, base_files, tree)
        judged_files, _ = await self._dependency_files(repo, judged)
        return detect(base_files, judged_files, tree)

    async def _dependency_files(
        self, repo: str, tree: str
    ) -> tuple[dict[str, bytes], Mapping[str, str]]:
        listing = await readable(self._trees, repo, tree)
        return await dependency_files(self._trees, repo, listing), listing.modes

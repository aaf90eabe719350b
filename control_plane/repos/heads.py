"""Heads: the trees that patches make of base. A patch makes the same one in every home."""

from control_plane.blobs.ports import Blobs
from control_plane.repos.mirrors import Incarnation
from control_plane.repos.trees import Trees
from runners.tree_rules import PATCH_BYTES

_KNOWN = 4096


class Heads:
    """Makes heads in this home's mirrors, from the blobs of their patches."""

    def __init__(self, trees: Trees, blobs: Blobs) -> None:
        self._trees, self._blobs = trees, blobs
        self._here: set[tuple[str, str, Incarnation | None]] = set()

    async def made(self, repo_id: str, base_commit: str, patch_sha256: str) -> str:
        """The tree of base + patch. Raises PatchDoesNotApply, ChangeTooLarge."""
        patch = await self._blobs.read(patch_sha256, PATCH_BYTES)
        now = self._trees.incarnation(repo_id)
        tree = await self._trees.apply_patch(repo_id, base_commit, patch)
        self._note(repo_id, tree, now)
        return tree

    async def here(self, repo_id: str, base_commit: str, head_tree: str, patch_sha256: str) -> None:
        """Have a head in this home's mirror: what another home has made is made again."""
        now = self._trees.incarnation(repo_id)
        if (repo_id, head_tree, now) in self._here:
            return
        if not await self._trees.has(repo_id, head_tree):
            tree = await self.made(repo_id, base_commit, patch_sha256)
            if tree != head_tree:  # a bug of ours; it must never be judged
                raise RuntimeError(f"patch {patch_sha256} makes tree {tree}, not {head_tree}")
        self._note(repo_id, head_tree, now)

    def _note(self, repo_id: str, tree: str, now: Incarnation | None) -> None:
        if len(self._here) >= _KNOWN:
            self._here.clear()
        if now is not None:
            self._here.add((repo_id, tree, now))

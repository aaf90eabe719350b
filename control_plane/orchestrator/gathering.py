"""Evidence: the trees and sandboxes that a plan asks for, and what comes back of them.

The verdict is not made here.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from control_plane.blobs.files import write_file
from control_plane.blobs.ports import Blobs
from control_plane.orchestrator.lease import Lease
from control_plane.orchestrator.results import read_document
from control_plane.orchestrator.specs import judge_draft
from control_plane.orchestrator.stages import StageEnd, Stages
from control_plane.orchestrator.streams import last_words
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.repos.trees import Trees
from quality_gates.model import Stage, StageEvidence, StagePlan, ToolEvidence, TreeRecipe
from runners import protocol
from runners.changes import CHANGES, changes_from_json
from sandboxes.errors import BlobMissing, TooLarge
from sandboxes.spec import Against, Artifact, Ended, Workspace

CHANGES_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class StageRan:
    """A stage of a plan, and how its sandbox ended. What it left is in blobs."""

    plan: StagePlan
    end: StageEnd


class EvidenceGatherer:
    """Runs the stages of a plan side by side, each in a fresh sandbox, and reads what they left."""

    def __init__(
        self, *, stages: Stages, mirrors: Mirrors, snapshots: Snapshots, blobs: Blobs
    ) -> None:
        self._stages, self._mirrors, self._snapshots, self._blobs = (
            stages,
            mirrors,
            snapshots,
            blobs,
        )
        self._trees = Trees(mirrors)

    async def run(
        self,
        lease: Lease,
        plans: Sequence[StagePlan],
        *,
        repo_id: UUID,
        base_commit: str,
        head_tree: str | None,
        environment: tuple[str, ...],
        attempt: int = 0,
    ) -> dict[Stage, StageRan]:
        """Run every stage to its end. No head: base is looked at by itself.

        Raises what `Stages.run` raises.
        """
        base = await self._snapshots.ensure(repo_id, base_commit)

        async def one(plan: StagePlan) -> StageRan:
            workspace = await self.workspace(plan.tree, repo_id, base, base_commit, head_tree)
            draft = judge_draft(
                run=str(lease.run_id), plan=plan, workspace=workspace, environment=environment
            )
            return StageRan(plan, await self._stages.run(lease, draft, attempt=attempt))

        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(one(plan)) for plan in plans]
        except BaseExceptionGroup as failures:
            # The first one ended the others, and says what its class says.
            raise failures.exceptions[0] from failures
        return {task.result().plan.stage: task.result() for task in running}

    async def workspace(
        self, recipe: TreeRecipe, repo_id: UUID, base: str, base_commit: str, head: str | None
    ) -> Workspace:
        """The tree of a stage, as a delta over the shared base.

        Its remains are compared with that same tree.
        """
        repo = repo_id.hex
        base_tree = await self._mirrors.tree_of(repo, base_commit)
        head_tree = head or base_tree
        side, other = (base_tree, head_tree) if recipe.side == "base" else (head_tree, base_tree)
        tree = await self._trees.compose(
            repo, side, {os.fsencode(path): other for path in recipe.swapped}
        )
        delta = None
        if tree != base_tree:
            packed = await self._trees.delta(repo, base_tree, tree)
            delta = (await self._blobs.put(packed)).sha256
        return Workspace(base=base, delta=delta, against=Against.START)

    async def evidence(
        self, ran: Mapping[Stage, StageRan], into: Path
    ) -> dict[Stage, StageEvidence]:
        """What stages left; their outputs as files of the directory `into`, which the judge reads.

        Hostile: what cannot be read is missing, never an error of ours.
        """
        return {stage: await self._read(one.plan, one.end, into) for stage, one in ran.items()}

    async def _read(self, plan: StagePlan, end: StageEnd, into: Path) -> StageEvidence:
        outcome = end.outcome
        result = await read_document(self._blobs, outcome.outputs.get(protocol.RESULT))
        altered, unknown = await self._altered(outcome.collected.get(CHANGES))
        return StageEvidence(
            stage=plan.stage,
            ended=outcome.ended.value,
            detail=outcome.detail or str(result.get("detail", ""))[:2000],
            exit_code=outcome.exit_code,
            tools=tool_evidence(plan, result),
            outputs={
                name: await self._laid_out(one.sha256, into)
                for name, one in outcome.outputs.items()
                if name != protocol.RESULT
            },
            events=await self._events(end, into),
            said=await last_words(self._blobs, end.streams.get("stderr")),
            altered=altered,
            altered_unknown=unknown,
            limits_hit=tuple(
                f"{name}: {why}" for name, why in outcome.refused.items() if name in plan.outputs
            ),
        )

    async def _laid_out(self, sha256: str, into: Path) -> Path:
        path = into / sha256  # two stages may have left the same bytes
        if not path.exists():
            await write_file(self._blobs, sha256, path)
        return path

    async def _altered(self, listed: Artifact | None) -> tuple[tuple[str, ...], str]:
        """Tracked files that the stage changed, and why there may be more; ours to say."""
        if listed is None:
            return (), "what the stage left could not be read"
        try:
            document = await self._blobs.read(listed.sha256, CHANGES_BYTES)
        except (BlobMissing, TooLarge) as problem:
            return (), f"the list of what the stage left cannot be read: {problem}"
        changes = await asyncio.to_thread(changes_from_json, document)
        return tuple(os.fsdecode(path) for path in changes.altered_tracked), changes.stopped or ""

    async def _events(self, end: StageEnd, into: Path) -> tuple[()] | Path | None:
        """The stream of test events as a file for the judge; None: it is broken."""
        sealed = end.streams.get("tests")
        if sealed is None:
            return ()
        if not sealed.complete:
            return None
        try:
            return await self._laid_out(sealed.sha256, into)
        except BlobMissing:
            return None


def tool_evidence(plan: StagePlan, result: Mapping[str, Any]) -> dict[str, ToolEvidence]:
    """The planned tools that the result speaks of.

    A tool that it does not name (or names badly) has no evidence.
    """
    planned = {tool.name: tool for tool in plan.tools}
    evidence: dict[str, ToolEvidence] = {}
    told = result.get("tools")
    for one in told if isinstance(told, list) else []:
        if not isinstance(one, dict) or one.get("name") not in planned:
            continue
        code, duration = one.get("exit_code"), one.get("duration_s")
        evidence[one["name"]] = ToolEvidence(
            exit_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
            timed_out=bool(one.get("timed_out")),
            duration_s=float(duration) if isinstance(duration, int | float) else 0.0,
            truncated=bool(one.get("truncated")),
            argv=planned[one["name"]].argv,
            detail=str(one.get("detail", ""))[:2000],
        )
    return evidence


def ended_well(ran: Mapping[Stage, StageRan]) -> bool:
    """Whether every stage ran to its end, so that what it left may be kept for other runs."""
    return all(one.end.outcome.ended is Ended.COMPLETED for one in ran.values())

"""What is run to judge a change: values only; the control plane turns each stage into a sandbox."""

from collections.abc import Collection
from dataclasses import replace

from quality_gates.gates.integrity import barred
from quality_gates.model import Change, Environment, GatePolicy, Stage, StagePlan, TreeRecipe
from quality_gates.selection import (
    base_copies,
    changed_conftests,
    changed_tests,
    new_or_edited_test_modules,
)
from quality_gates.staticplan import base_static, head_static
from quality_gates.testplan import stage_of_tests
from quality_gates.testrun import FIRST


def plan(change: Change, policy: GatePolicy, environment: Environment) -> tuple[StagePlan, ...]:
    """The stages that look at the patch.

    None for one that is empty, refused, or asks for other dependencies without leave.
    """
    if barred(change, policy):
        return ()
    stages = [
        head_static(change, policy),
        stage_of_tests(change, environment, Stage.HEAD, TreeRecipe("head", _kept(change, policy))),
    ]
    copies = base_copies(change)
    if copies:
        stages.append(
            stage_of_tests(change, environment, Stage.BASE_COPIES, TreeRecipe("head", copies))
        )
    new = new_or_edited_test_modules(change)
    if new:
        kept = set(_kept(change, policy))
        swapped = tuple(path for path in changed_tests(change) if path not in kept)
        stages.append(
            stage_of_tests(
                change, environment, Stage.NEW_ON_BASE, TreeRecipe("base", swapped), only=new
            )
        )
    return tuple(stages)


def again(plans: Collection[StagePlan], wanted: Collection[Stage]) -> tuple[StagePlan, ...]:
    """Stages of a plan once more, under the names in `wanted`: the same trees and tools."""
    by_stage = {plan.stage: plan for plan in plans}
    return tuple(replace(by_stage[FIRST[stage]], stage=stage) for stage in wanted)


def base_plan(
    change: Change, policy: GatePolicy, environment: Environment
) -> tuple[StagePlan, ...]:
    """The stages that look at base alone.

    They depend on base, policy and environment, never on the patch: results are cached.
    """
    return (
        base_static(change, policy),
        stage_of_tests(change, environment, Stage.BASE, TreeRecipe("base")),
    )


def _kept(change: Change, policy: GatePolicy) -> tuple[str, ...]:
    """Files that steer the tests and stay base's unless the task allows test changes."""
    return () if policy.test_changes_allowed else changed_conftests(change)

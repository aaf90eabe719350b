"""The verdict on one change. Pure but for reading the evidence's files, whose sizes are capped."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from quality_gates.gates import coverage, integrity, new_tests, tests
from quality_gates.gates.case import Case, open_case
from quality_gates.gates.scanners import SCANNER_GATES
from quality_gates.model import (
    Change,
    Environment,
    GatePolicy,
    GateReport,
    Stage,
    StageEvidence,
    TaskReport,
    Verdict,
)
from quality_gates.policy import overall
from quality_gates.trusted import configuration_sha256

_GATES: dict[str, Callable[[Case], GateReport]] = {
    tests.GATE: tests.judge,
    new_tests.GATE: new_tests.judge,
    coverage.GATE: coverage.judge,
    **{scanner.gate: scanner.judge for scanner in SCANNER_GATES},
}
GATES = (*_GATES, integrity.GATE)
"""Every gate there is, in the order of the report."""


def judge(
    change: Change,
    policy: GatePolicy,
    environment: Environment,
    image: str,
    evidence: Mapping[Stage, StageEvidence],
) -> TaskReport:
    """All gates that the policy asks for; `integrity` always.

    Raises ValueError for a gate that does not exist.
    """
    wanted = gate_names(policy.gates)
    configuration = configuration_sha256(policy)
    whole = integrity.judge(change, policy)
    trouble = ""
    once_more: tuple[Stage, ...] = ()
    if integrity.barred(change, policy):
        reports = [_left_out(gate) for gate in wanted if gate != integrity.GATE]
    else:
        case = open_case(change, policy, environment, evidence)
        reports = [_GATES[gate](case) for gate in wanted if gate != integrity.GATE]
        trouble, once_more = tests.base_trouble(case), tests.again(case)
    gates = tuple(_identified(report, configuration) for report in (*reports, whole))
    return TaskReport(
        verdict=overall(gates),
        gates=gates,
        base_commit=change.base_commit,
        patch_sha256=change.patch_sha256,
        image=image,
        environment_sha256=environment.sha256,
        policy=policy,
        notes=(*environment.notes, *_unjudged(policy)),
        again=once_more,
        base_trouble=trouble,
    )


def gate_names(asked: tuple[str, ...]) -> tuple[str, ...]:
    """The gates to run: all of them when none is named, `integrity` in any case."""
    unknown = sorted(set(asked) - set(GATES))
    if unknown:
        raise ValueError(f"no such gate: {', '.join(unknown)}; there are {', '.join(GATES)}")
    return tuple(gate for gate in GATES if not asked or gate in asked or gate == integrity.GATE)


def _left_out(gate: str) -> GateReport:
    return GateReport(
        gate, Verdict.PASSED, ("nothing was run for this change; see integrity",), applicable=False
    )


def _identified(report: GateReport, configuration: str) -> GateReport:
    return replace(report, configuration_sha256=configuration)


def _unjudged(policy: GatePolicy) -> tuple[str, ...]:
    return tuple(
        f"not judged, no test is named for it: {line}" for line in policy.testing_requirements
    )

"""Every cheat and every honest change through real sandboxes and real gates.

The verdicts of the catalogue, with the evidence named.

`company` is the whole company in this process; `judge` takes a repository, a base commit, what the
agent does, and the task's policy, and comes back when the run has ended.
"""

import json
import re

import pytest
from cheat_cases import Case, base_repository, patch_of
from cheats_on_tests import TESTS_CHEATS
from cheats_on_tools import COVERAGE_CHEATS, REVIEW_CHEATS, STATIC_CHEATS, SURROUNDINGS_CHEATS
from honest_cases import FAILING, PASSING

from quality_gates.model import Verdict

pytestmark = pytest.mark.docker

CASES = (
    *TESTS_CHEATS, *COVERAGE_CHEATS, *STATIC_CHEATS, *SURROUNDINGS_CHEATS, *REVIEW_CHEATS,
    *PASSING, *FAILING,
)  # fmt: skip


def by_id(case: Case) -> str:
    return case.id


async def judged(company, case: Case, folder):
    """The run of one case.

    The driver is `{"kind": "patch", "patch": bytes}` or `{"kind": "command", "argv": [...]}`.
    """
    base = base_repository(folder / "toolbox", case)
    if case.command is None:
        driver = {"kind": "patch", "patch": patch_of(folder / "toolbox", case, base)}
    else:
        driver = {"kind": "command", "argv": ["/bin/sh", "-euc", case.command]}
    return await company.judge(folder / "toolbox", base, driver, case.policy)


@pytest.mark.parametrize("case", CASES, ids=by_id)
async def test_the_verdict_and_its_evidence(company, case, tmp_path):
    run = await judged(company, case, tmp_path)

    gates = {gate["gate"]: gate for gate in run.report["gates"] if gate["applicable"]}
    text = json.dumps(run.report, ensure_ascii=False)
    told = summary(run.report)
    assert run.verdict == case.verdict, told
    assert run.report["verdict"] == case.verdict
    if case.gate:
        assert gates[case.gate]["verdict"] == case.verdict, told
        assert re.search(case.evidence, json.dumps(gates[case.gate], ensure_ascii=False)), told
    assert re.search(case.evidence, text), told
    assert re.search(case.listed, text), told
    if case.verdict is not Verdict.PASSED:
        assert any(gate["reasons"] for gate in gates.values()), told
    if case.alone or case.verdict is Verdict.PASSED:
        others = {name: gate["verdict"] for name, gate in gates.items() if name != case.gate}
        assert set(others.values()) == {"passed"}, told


def summary(report) -> str:
    """What a person needs of a report to see why a case came out otherwise."""
    lines = [
        f"{gate['gate']}: {gate['verdict']} {gate['reasons']} {gate['notes']}"
        for gate in report["gates"]
    ]
    return "\n".join([f"verdict: {report['verdict']} {report['notes']}", *lines])

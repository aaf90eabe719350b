"""An honest change before its judge, whose evidence tests replace in part."""

from dataclasses import replace

from gate_evidence import ENVIRONMENT, Evidence
from gatelab import change_of

from quality_gates.judge import judge
from quality_gates.model import GatePolicy, Stage

CORE, TEST, NEW = "calc/core.py", "tests/test_core.py", "tests/test_mul.py"
ADD, MUL = f"{TEST}::test_add", f"{NEW}::test_mul"
BASE = {
    CORE: "def add(a, b):\n    return a + b\n",
    TEST: "def test_add():\n    assert True\n",
    "calc/__init__.py": "",
}
HEAD = {
    **BASE,
    CORE: BASE[CORE] + "def mul(a, b):\n    return a * b\n",
    NEW: "def test_mul():\n    assert True\n",
}
COVERED = {CORE: ([1, 2], []), "calc/__init__.py": ([], [])}
COVERED_HEAD = {CORE: ([1, 2, 3, 4], []), "calc/__init__.py": ([], [])}


class Trial:
    """An honest change whose evidence all agrees; tests replace a part."""

    def __init__(self, folder, base=BASE, head=HEAD, **more):
        self.make, self.change, self.policy = (
            Evidence(folder),
            change_of(base, head, **more),
            GatePolicy(),
        )
        stages = {
            Stage.BASE: self.make.tests(Stage.BASE, {ADD: "passed"}, covered=COVERED),
            Stage.HEAD: self.head({ADD: "passed", MUL: "passed"}),
            Stage.NEW_ON_BASE: self.make.tests(Stage.NEW_ON_BASE, {MUL: "failed"}),
            Stage.BASE_COPIES: self.make.tests(Stage.BASE_COPIES, {ADD: "passed"}),
        }
        static = (Stage.STATIC, Stage.BASE_STATIC) if self.change.files else (Stage.BASE_STATIC,)
        self.stages = {
            **stages,
            **{stage: self.make.static(stage, self.change) for stage in static},
        }

    def head(self, outcomes, **more):
        return self.make.tests(Stage.HEAD, outcomes, **{"covered": COVERED_HEAD, **more})

    def set(self, stage, evidence):
        self.stages[stage] = evidence
        return self

    def report(self, **policy):
        return judge(self.change, replace(self.policy, **policy), ENVIRONMENT, "image", self.stages)

    def gate(self, name, **policy):
        return next(gate for gate in self.report(**policy).gates if gate.gate == name)

"""`lint` where nobody has named rules: what the project itself keeps to, and nothing of style."""

import tomllib

import pytest
from gate_evidence import Evidence, ruff
from gate_trial import Trial
from gatelab import change_of

from quality_gates.linting import ruff_configuration
from quality_gates.model import Stage, Verdict

PATH = "calc/__init__.py"
AT = f"/workspace/{PATH}"
ELSEWHERE = "/workspace/calc/old.py"


def lint(tmp_path, line, hit, *, base=(), kept=(), message="bad", **policy):
    """The gate for one new line with one hit of ruff; `kept`: base's, with `noqa` honoured."""
    trial = Trial(tmp_path, head={PATH: f"x = 1\n{line}\n"}, base={PATH: "x = 1\n"})
    make: Evidence = trial.make
    of_base = {"ruff.json": ruff(base), "ruff_honouring.json": ruff(kept)}
    trial.set(Stage.BASE_STATIC, make.static(Stage.BASE_STATIC, trial.change, outputs=of_base))
    found = {"ruff.json": ruff([(hit, AT, 2)], message)}
    trial.set(Stage.STATIC, make.static(Stage.STATIC, trial.change, outputs=found))
    return trial.gate("lint", **policy)


def selected(base):
    """The codes that a project is held to whose configuration files are `base`."""
    return set(tomllib.loads(ruff_configuration("project", base))["lint"]["select"])


def test_only_errors_are_asked_for():
    """click, pyjwt, colorama: I001. pluggy, colorama: PLR0124, SIM117, BLE001. Nobody asked."""
    chosen = selected({})

    assert {"F401", "F821", "E902"} <= chosen
    assert not chosen & {"I001", "PLR0124", "SIM117", "BLE001"}


def test_a_new_error_of_a_kind_that_base_does_not_make_is_refused(tmp_path):
    assert lint(tmp_path, "import os", "F401").verdict is Verdict.FAILED


def test_a_rule_that_base_breaks_elsewhere_blocks_nothing_and_is_shown(tmp_path):
    broken = [("F401", ELSEWHERE, 7)]

    gate = lint(tmp_path, "import os", "F401", base=broken, kept=broken)

    assert gate.verdict is Verdict.PASSED
    assert [(one.rule, one.new, one.blocks) for one in gate.findings] == [("F401", True, False)]


def test_a_rule_that_base_breaks_only_where_it_says_so_is_kept(tmp_path):
    excused = [("F401", ELSEWHERE, 7)]

    gate = lint(tmp_path, "import os", "F401", base=excused, kept=[])

    assert gate.verdict is Verdict.FAILED


@pytest.mark.parametrize("rule", [None, "E902", "E999"], ids=["syntax", "E902", "E999"])
def test_what_is_no_python_is_refused_whatever_base_has(tmp_path, rule):
    broken = [(rule, ELSEWHERE, 7)]
    gate = lint(tmp_path, "x = (  # noqa: E999", rule, base=broken, kept=broken)

    assert gate.verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("comment", "verdict"),
    [
        ("# noqa: F401", Verdict.PASSED),
        ("# ruff: ignore[F401]", Verdict.PASSED),
        ("# ruff:ignore[unused-import]", Verdict.PASSED),
        ("# ruff:ignore[unused-variable]", Verdict.FAILED),
        ("# noqa: E501,F401 -- why", Verdict.PASSED),
        ("# noqa: F811", Verdict.FAILED),
        ("# noqa", Verdict.FAILED),
        ("# ruff: noqa: F401", Verdict.FAILED),
        ("# F401", Verdict.FAILED),
    ],
)
def test_one_that_names_the_rule_in_its_line_is_honoured(tmp_path, comment, verdict):
    """flask: `noqa` with a rule's name and a reason is not cheating."""
    assert lint(tmp_path, f"import os  {comment}", "F401").verdict is verdict


def test_rules_of_a_packet_are_kept_to_whatever_a_line_says_and_base_does(tmp_path):
    broken = [("F401", ELSEWHERE, 7)]

    gate = lint(
        tmp_path, "import os  # noqa: F401", "F401", base=broken, kept=broken,
        linting_rules="pyflakes",
    )  # fmt: skip

    assert gate.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("name", "verdict"), [("ExceptionGroup", Verdict.PASSED), ("Exceptiongroup", Verdict.FAILED)]
)
def test_a_builtin_of_newer_pythons_is_no_undefined_name(tmp_path, name, verdict):
    """flask: `ExceptionGroup` behind a check of the version."""
    gate = lint(tmp_path, f"E = {name}", "F821", message=f"Undefined name `{name}`")

    assert gate.verdict is verdict


def test_a_line_that_moves_to_another_file_is_not_new(tmp_path):
    base = {"calc/a.py": "import os\nx = 1\n", "calc/b.py": "y = 1\n"}
    head = {"calc/a.py": "x = 1\n", "calc/b.py": "y = 1\nimport os\n"}
    trial = Trial(tmp_path, base=base, head=head)
    for stage, at in ((Stage.BASE_STATIC, ("a", 1)), (Stage.STATIC, ("b", 2))):
        outputs = {"ruff.json": ruff([("F401", f"/workspace/calc/{at[0]}.py", at[1])])}
        trial.set(stage, trial.make.static(stage, trial.change, outputs=outputs))

    assert [one.new for one in trial.gate("lint").findings] == [False]


def test_a_base_without_a_file_has_broken_nothing(tmp_path):
    change = change_of({}, {PATH: "import os\n"})
    trial = Trial(tmp_path, base={}, head={PATH: "import os\n"})
    found = {"ruff.json": ruff([("F401", AT, 1)])}
    trial.set(Stage.STATIC, trial.make.static(Stage.STATIC, change, outputs=found))

    assert trial.gate("lint").verdict is Verdict.FAILED

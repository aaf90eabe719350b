"""The gates over real tools in the judge's image: an honest change, and a trick of each family.

All cheats end to end: `tests/acceptance/cheats`. Here the plan, the plugin and the parsers meet the
tools that they were written for.
"""

import subprocess
from pathlib import Path

import pytest
from gate_evidence import files_of
from gatelab import Lab, change_of

from quality_gates import trusted
from quality_gates.model import Environment, GatePolicy, Stage, Verdict
from quality_gates.parsers import semgrep
from quality_gates.plan import plan
from quality_gates.staticplan import head_static

pytestmark = pytest.mark.docker

CORE = "src/calc/core.py"
# of our own rules, whatever surrounds it
UNSAFE = "import shutil\n\nshutil.unpack_archive('a.tar', 'b', filter='fully_trusted')\n"
BASE = {
    "pyproject.toml": (
        "[tool.pytest.ini_options]\naddopts = '-ra -n0'\ntestpaths = ['tests']\n"
        "filterwarnings = ['error']\n"
    ),
    "src/calc/__init__.py": "from calc.core import add\n\n__all__ = ['add']\n",
    CORE: '"""Sums."""\n\n\ndef add(a, b):\n    """Add."""\n    return a + b\n',
    "tests/conftest.py": "",
    "tests/empty.txt": "",
    "tests/test_core.py": "import subprocess\nimport sys\n\nfrom calc import add\n\n\n"
    "def test_add():\n    assert add(1, 2) == 3\n\n\n"
    "def test_a_child_finds_the_project():\n"
    "    subprocess.run([sys.executable, '-c', 'import calc'], check=True)\n",
}
HONEST = {
    **BASE,
    CORE: BASE[CORE] + '\n\ndef mul(a, b):\n    """Multiply."""\n    return a * b\n',
    "tests/test_mul.py": (
        "from calc.core import mul\n\n\ndef test_mul():\n    assert mul(2, 3) == 6\n"
    ),
}
BROKEN = {**HONEST, CORE: HONEST[CORE].replace("a + b", "a - b")}


def core(extra):
    return {**BROKEN, CORE: BROKEN[CORE] + extra}


REPORTS = """

import _pytest.reports

_old = _pytest.reports.TestReport.from_item_and_call.__func__


def _new(cls, item, call):
    report = _old(cls, item, call)
    report.outcome, report.longrepr = "passed", None
    return report


_pytest.reports.TestReport.from_item_and_call = classmethod(_new)
"""
FORGED = """

import coverage

never = "/vsc/judge/never/vsc_never_imported.py"
coverage.Coverage.current().get_data().add_lines({never: range(1, 100)})
"""
CASES = {
    "broken": (BROKEN, "failed", "tests"),
    "a conftest that calls everything passed (H1)": (
        {
            **BROKEN,
            "tests/conftest.py": "import pytest\n\n\n@pytest.hookimpl(hookwrapper=True)\n"
            "def pytest_runtest_makereport(item, call):\n"
            "    outcome = yield\n    outcome.get_result().outcome = 'passed'\n",
        },
        "failed",
        "tests",
    ),
    "a folder in pytest's name (H5)": (
        {**BROKEN, "pytest/__init__.py": "raise SystemExit(0)\n"},
        "failed",
        "tests",
    ),
    "an exit in the product (H8)": (core("\nimport os\nos._exit(0)\n"), "inconclusive", "tests"),
    "reports rewritten (H12)": (core(REPORTS), "tampered", "tests"),
    "coverage forged (H22)": (
        {**core(FORGED), CORE: HONEST[CORE] + FORGED},
        "tampered",
        "coverage",
    ),
    "findings hidden by comments (H23)": (
        {**HONEST, CORE: HONEST[CORE] + "\n\ndef run(x):\n    return eval(x)  # nosec\n"},
        "failed",
        "bandit",
    ),
    "a file that is not Python (H24)": (
        {**HONEST, "src/calc/bad.py": "def f(:\n    pass\n"},
        "failed",
        "bandit",
    ),
    "a script in a folder that tools skip (H25)": (
        {**HONEST, "build/tool": "#!/usr/bin/env python3\n" + UNSAFE, ".semgrepignore": "*\n"},
        "failed",
        "semgrep",
    ),
    "syntax that only semgrep does not know (H26)": (
        {**HONEST, "src/calc/odd.py": UNSAFE + "\n\ndef f[T = int](x: T) -> T:\n    return x\n"},
        "inconclusive",
        "semgrep",
    ),
    "a secret that a comment allows (H31)": (
        {
            **HONEST,
            CORE: HONEST[CORE] + "\npassword = 'hunter2hunter2'  # pragma: allowlist secret\n",
        },
        "failed",
        "secrets",
    ),
    "a secret behind a NUL": (
        {**HONEST, "keys.cfg": b"# \0\npassword = 'hunter2hunter2'\n"},
        "failed",
        "secrets",
    ),
    "a secret in UTF-16": (
        {**HONEST, "keys.cfg": "password = 'hunter2hunter2'\n".encode("utf-16-le")},
        "failed",
        "secrets",
    ),
    "a secret beside a byte that is no text": (
        {**HONEST, "notes.png": b"\xff\npassword = 'hunter2hunter2'\n"},
        "failed",
        "secrets",
    ),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory, python_image):
    folder = tmp_path_factory.mktemp("lab")
    for parent in (folder, *list(folder.parents)[:2]):
        parent.chmod(0o755)
    environment = folder / "env"
    environment.mkdir()
    make = (
        "/usr/bin/python3.13 -m venv /env && "
        "/env/bin/python -m pip install -q --no-index --find-links /opt/vsc/wheels pytest "
        "coverage"
    )
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--user",
        "0",
        "-v",
        f"{environment}:/env",
        "--entrypoint",
        "/bin/sh",
    ]
    subprocess.run([*command, python_image, "-c", make], check=True, timeout=300)
    return Lab(
        folder,
        python_image,
        environment,
        Environment("e" * 64, python_image, "/env/bin/python", False, ()),
    )


def test_an_honest_change_passes_every_gate(lab):
    report = lab.judge(BASE, HONEST)

    assert report.verdict is Verdict.PASSED, [(gate.gate, gate.reasons) for gate in report.gates]
    assert all(gate.applicable for gate in report.gates)
    assert (
        next(gate for gate in report.gates if gate.gate == "coverage").evidence["changed_lines"][
            "ratio"
        ]
        == 1.0
    )


def test_what_a_script_without_a_suffix_has_always_done_is_not_new(lab):
    script = (
        "#!/usr/bin/env python3\nimport os, sys\nimport urllib.request\n\n"
        "print(os.sep, urllib.request.urlopen(sys.argv[1]).read())\n"
    )
    base = {**BASE, "tools/fetch": script, "pyproject.toml": '[tool.ruff.lint]\nselect = ["E4"]\n'}

    report = lab.judge(base, {**base, **HONEST, "tools/fetch": script + "print(sys.path)\n"})

    assert report.verdict is Verdict.PASSED, [(gate.gate, gate.reasons) for gate in report.gates]


@pytest.mark.parametrize("case", CASES)
def test_a_trick_has_the_verdict_that_it_must_have(lab, case):
    head, verdict, gate = CASES[case]

    report = lab.judge(BASE, head)

    verdicts = {report.gate: str(report.verdict) for report in report.gates}
    assert (str(report.verdict), verdicts[gate]) == (verdict, verdict), [
        (g.gate, g.reasons) for g in report.gates
    ]


def test_the_two_engines_of_semgrep_agree_on_our_rules(lab):
    examples = sorted(Path(trusted.__file__).parent.glob("rules/examples/*.py"))
    assert len(examples) >= 10
    head = {f"src/{path.name}": path.read_bytes() for path in examples}
    change = change_of({}, head)
    found = []
    for experimental in (False, True):
        stage = head_static(change, GatePolicy(), experimental=experimental)
        assert all(len(files_of(tool)) == len(head) for tool in stage.tools)
        evidence = lab.run(stage, {}, head)
        found.append(semgrep.parse(evidence.outputs["semgrep.json"].read_bytes()))

    assert len(found[0].hits) >= len(examples)
    assert sorted(found[0].hits, key=repr) == sorted(found[1].hits, key=repr)
    assert found[0].scanned == found[1].scanned


@pytest.mark.parametrize("argument_bytes", [2**20, 60], ids=["one run", "batches"])
def test_odd_names_and_empty_files_are_scanned_by_every_tool(lab, monkeypatch, argument_bytes):
    monkeypatch.setattr("quality_gates.batches.ARGUMENT_BYTES", argument_bytes)
    names = [
        "-rf.py",
        "a b.py",
        "new\nline.py",
        ".tox/x.py",
        "build/y.min.py",
        "empty.py",
        "tests/vendor/z.py",
    ]
    head = {name: "" if name == "empty.py" else UNSAFE + "x = eval('1')\n" for name in names}
    report = lab.judge(
        {"calc/__init__.py": ""},
        {"calc/__init__.py": "", **head},
        GatePolicy(gates=("lint", "bandit", "semgrep", "secrets")),
    )

    gates = {gate.gate: gate for gate in report.gates}
    assert {finding.path for finding in gates["bandit"].findings} == set(names) - {"empty.py"}
    assert {finding.path for finding in gates["semgrep"].findings} == set(names) - {"empty.py"}
    assert not [
        reason
        for gate in ("lint", "bandit", "semgrep", "secrets")
        for reason in gates[gate].reasons
        if "not scanned" in reason
    ]


def test_no_stage_that_reads_has_the_environment(lab):
    assert [
        s.stage
        for s in plan(change_of(BASE, HONEST), GatePolicy(), lab.facts)
        if not s.needs_environment
    ] == [Stage.STATIC]

"""Scanners over tests: what is dangerous in a product is ordinary there, and a live key is not."""

import json

import pytest
from gate_evidence import bandit, semgrep
from gate_trial import Trial

from quality_gates.model import Stage, Verdict
from quality_gates.test_only import only_of_tests

PRODUCT, TEST = "calc/core.py", "tests/test_core.py"
BASE = {PRODUCT: "x = 1\n", TEST: "y = 1\n"}


def found(tmp_path, path, outputs, *, product="x = 2\n", **more):
    """All gates, where a scanner has found something in line 2 of `path`."""
    head = {**BASE, path: "y = 1\nz = 1\n", PRODUCT: product, **more}
    trial = Trial(tmp_path, base=BASE, head=head)
    changed = [f"/workspace/{name}" for name in head if head[name] != BASE.get(name)]
    given = {name: make(f"/workspace/{path}", changed) for name, make in outputs.items()}
    static = trial.make.static(Stage.STATIC, trial.change, outputs=given)
    return trial.set(Stage.STATIC, static)


def of_bandit(rule):
    return {"bandit.json": lambda at, read: bandit([(rule, "HIGH", at, 2)], read)}


def of_semgrep(rule):
    return {"semgrep.json": lambda at, read: semgrep([(rule, "ERROR", at, 2)], read)}


def of_secrets(*kinds):
    """One text that is a secret of each of these kinds."""
    rows = [
        {"type": kind, "hashed_secret": "a", "line_number": 2, "allowed": False} for kind in kinds
    ]
    return {
        "secrets.json": lambda at, read: json.dumps(
            {"version": "1.5.0", "results": {at: rows}, "scanned": read, "errors": []}
        )
    }


@pytest.mark.parametrize(
    ("gate", "outputs"),
    [
        ("bandit", of_bandit("B113")),
        ("bandit", of_bandit("B301")),
        ("semgrep", of_semgrep("database-password-in-source")),
        ("secrets", of_secrets("Secret Keyword")),
        ("secrets", of_secrets("Hex High Entropy String")),
        ("secrets", of_secrets("Basic Auth Credentials")),
        ("secrets", of_secrets("JSON Web Token")),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_ordinary_in_a_test_is_shown_there_and_refused_in_a_product(
    tmp_path, gate, outputs
):
    """requests, cachetools: B113 and B301 in tests. pydantic-settings: made-up passwords."""
    in_test = found(tmp_path / "test", TEST, outputs).gate(gate)
    in_product = found(tmp_path / "product", PRODUCT, outputs, product="x = 1\nz = 1\n").gate(gate)

    assert in_test.verdict is Verdict.PASSED
    assert [(one.new, one.blocks) for one in in_test.findings] == [(True, False)]
    assert in_product.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("gate", "outputs"),
    [
        ("semgrep", of_semgrep("cloud-key-in-source")),
        ("semgrep", of_semgrep("unpickle-network-data")),
        ("secrets", of_secrets("AWS Access Key")),
        ("secrets", of_secrets("GitHub Token")),
        ("secrets", of_secrets("Private Key")),
        ("secrets", of_secrets("Secret Keyword", "Base64 High Entropy String")),
        ("secrets", of_secrets("Secret Keyword", "Hex High Entropy String")),
    ],
)
def test_a_key_that_may_be_live_and_fetched_code_are_refused_in_a_test_too(tmp_path, gate, outputs):
    assert found(tmp_path, TEST, outputs).gate(gate).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("helper", "product"),
    [
        ("tests/helper.py", "import tests.helper\n"),
        ("tests/helper.py", "from tests import helper\n"),
        ("tests/helper.py", "from tests.helper import z\n"),
        ("tests/helper.py", "import helper\n"),
        ("calc/tests/helper.py", "from .tests import helper\n"),
        ("calc/tests/helper.py", "from .tests.helper import z\n"),
        ("calc/tests/helper.py", "import calc.tests.helper as h\n"),
        ("src/calc/tests/helper.py", "import calc.tests.helper\n"),
        ("tests/__init__.py", "import tests\n"),
        ("tests/helper.py", "m = importlib.import_module('tests.helper')\n"),
        ("tests/helper.py", "exec(open('tests/helper.py').read())\n"),
        ("tests/helper.py", "x = (\n"),
        ("calc/testing.py", "x = 2\n"),
        ("calc/testing/helper.py", "x = 2\n"),
    ],
)
def test_what_the_product_makes_use_of_is_product_wherever_it_lies(tmp_path, helper, product):
    trial = found(tmp_path, helper, of_bandit("B301"), product=product)

    assert trial.gate("bandit").verdict is not Verdict.PASSED
    assert not only_of_tests(trial.change)(helper)


@pytest.mark.parametrize(
    "product", ["import os\n", "from . import helpers\n", "x = 'a test of helper things'\n", ""]
)
def test_a_product_that_speaks_of_something_else_uses_no_test(tmp_path, product):
    trial = found(tmp_path, "tests/helper.py", of_bandit("B301"), product=product)

    assert trial.gate("bandit").verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("line", "kinds", "verdict"),
    [
        (f"commit = '{'0a' * 20}'", ["Hex High Entropy String"], Verdict.PASSED),
        ("secrets: inherit", ["Secret Keyword"], Verdict.PASSED),
        ("secrets: inherited1", ["Secret Keyword"], Verdict.FAILED),
        (f"sha256:{'0a' * 32}", ["Hex High Entropy String"], Verdict.PASSED),
        (f"secret = '{'0a' * 20}'", ["Hex High Entropy String", "Secret Keyword"], Verdict.FAILED),
        (f"x = '{'0a' * 18}'", ["Hex High Entropy String"], Verdict.FAILED),
        (f"x = '{'0a' * 20}', '{'Zz/9' * 9}'", ["Base64 High Entropy String"], Verdict.FAILED),
    ],
)
def test_a_digest_that_nothing_calls_a_secret_is_none(tmp_path, line, kinds, verdict):
    """filelock: a file with the commit that it was made from."""
    outputs = of_secrets(*kinds)

    gate = found(tmp_path, PRODUCT, outputs, product=f"x = 1\n{line}\n").gate("secrets")

    assert gate.verdict is verdict

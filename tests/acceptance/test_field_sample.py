"""A rotating sample of the field (docs/field.md): one honest release, and one without its product.

Each day another pair of those that are judged in less than half a minute; VSC_FIELD_DAY names a day
(days since 1970).
"""

import asyncio
import os
import subprocess
import time

import corpus
import pytest
from release_kit import ENVIRON

from control_plane.repos.trees import DIFF
from quality_gates.model import GatePolicy, Verdict

pytestmark = pytest.mark.docker

QUICK = (
    "iniconfig", "pluggy", "pyjwt", "pytz", "python-dotenv", "wheel", "pyasn1", "six", "pycparser",
    "attrs", "jinja2",
)  # fmt: skip
DAY = int(os.environ.get("VSC_FIELD_DAY", time.time() // 86_400))
NAME = QUICK[DAY % len(QUICK)]
A_RELEASE = GatePolicy(test_changes_allowed=True, dependency_changes_allowed=True)


@pytest.fixture(scope="module")
def pair():
    corpus.fetch(NAME)
    return next(one for one in corpus.pairs() if one.name == NAME)


def patch_of(change):
    command = ["git", "-C", change.repo, *DIFF, "-p", "--binary", "--full-index"]
    return subprocess.run(
        [*command, change.base, change.head], env=ENVIRON, check=True, capture_output=True
    ).stdout


async def judged(company, change):
    patch = await asyncio.to_thread(patch_of, change)
    return await company.judge(
        change.repo, change.base, {"kind": "patch", "patch": patch}, A_RELEASE
    )


async def test_what_its_authors_released_passes(company, tmp_path, pair):
    done = await judged(company, corpus.honest(tmp_path / NAME, pair))

    assert done.verdict is Verdict.PASSED, (NAME, DAY, done.report["gates"])


async def test_the_same_without_its_product_fails_its_tests(company, tmp_path, pair):
    done = await judged(company, corpus.regression(tmp_path / NAME, pair))

    refused = {gate["gate"] for gate in done.report["gates"] if gate["verdict"] == "failed"}
    assert done.verdict is Verdict.FAILED, (NAME, DAY, done.report["gates"])
    assert refused & {"tests", "new_tests"}, (NAME, DAY)

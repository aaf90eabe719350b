"""Changes that real libraries released, judged as an agent's.

What their authors did passes, and what falls short of it does not.

The counts are those of the released archives (their tests, run by hand under Python 3.13);
`tests/fixtures/releases.json` pins them.
"""

import re
from dataclasses import dataclass, replace

import pytest
from release_kit import Files, release, repository

from control_plane.cli.worktree import change_of
from control_plane.judgements.models import Judgement
from control_plane.repos.sources import FromArchive
from control_plane.repos.trees import DIFF
from quality_gates.model import GatePolicy, Verdict

pytestmark = pytest.mark.docker

A_RELEASE = GatePolicy(test_changes_allowed=True, dependency_changes_allowed=True)
"""A feature at 80 % and MEDIUM. Releases edit tests and what they depend on; their authors may."""
GATES = ("tests", "new_tests", "coverage", "lint", "bandit", "semgrep", "secrets", "integrity")


@dataclass(frozen=True, slots=True)
class Honest:
    """A release that must pass.

    How many tests pass on either side, how many prove the change, and one of those.
    """

    name: str
    old: str
    new: str
    base: int
    head: int
    proofs: int
    proof: str

    def __str__(self) -> str:
        return f"{self.name}-{self.new}"


HONEST = [
    Honest(
        "cachetools",
        "7.3.1",
        "7.3.2",
        426,
        443,
        6,
        "tests/test_lru.py::LRUCacheTest::test_copy_attributes",
    ),
    Honest("h11", "0.15.0", "0.16.0", 78, 78, 1, "h11/tests/test_io.py::test_ChunkedReader"),
    Honest(
        "humanize",
        "4.14.0",
        "4.15.0",
        666,
        737,
        45,
        "tests/test_i18n.py::TestActivate::test_default_locale_path_null__spec__",
    ),
    Honest(
        "idna", "3.17", "3.18", 6404, 6405, 1, "tests/test_idna.py::IDNATests::test_decode_display"
    ),
    Honest(
        "iniconfig",
        "2.2.0",
        "2.3.0",
        42,
        49,
        4,
        "testing/test_iniconfig.py::test_parse_strips_inline_comments",
    ),
    Honest(
        "parse",
        "1.22.2",
        "1.22.3",
        99,
        104,
        4,
        "tests/test_parse.py::test_flexible_time_preserves_timezone[+0530]",
    ),
]


@pytest.mark.parametrize("pair", HONEST, ids=str)
async def test_what_a_library_released_passes(company, pair, tmp_path):
    repo = repository(tmp_path / "repo", release(pair.name, pair.old, pair.new))

    judged = await company.judge(
        repo.path, repo.base, {"kind": "patch", "patch": repo.patch}, A_RELEASE
    )

    gates = gates_of(judged.report)
    assert judged.verdict is Verdict.PASSED, told(judged.report)
    assert {name: gate["verdict"] for name, gate in gates.items()} == dict.fromkeys(GATES, "passed")
    assert gates["tests"]["evidence"]["base"]["passed"] == pair.base
    assert gates["tests"]["evidence"]["head"]["passed"] == pair.head
    assert not {"failed", "error"} & gates["tests"]["evidence"]["head"].keys()
    assert len(gates["new_tests"]["evidence"]["fail_to_pass"]) == pair.proofs
    assert pair.proof in gates["new_tests"]["evidence"]["fail_to_pass"]
    changed = gates["coverage"]["evidence"]["changed_lines"]
    assert changed["executable"] >= changed["executed"] > 0


async def test_releases_as_they_were_uploaded_need_no_git_at_all(company):
    """The archives themselves are imported, one on top of the other.

    The way in for who has no repository.
    """
    pair = release("h11", "0.15.0", "0.16.0")
    blobs, mirrors = company.company.services.blobs, company.company.services.mirrors
    base = head = None
    for archive in (pair.old, pair.new):
        sha256 = (await blobs.put(archive.read_bytes())).sha256
        base = head
        repo, head = await company.imported("h11-uploaded", FromArchive(sha256, parent=base))
    patch = await mirrors.git(repo.id.hex).run(*DIFF, "-p", "--binary", "--full-index", base, head)

    judged = await company.judge(repo.id, base, {"kind": "patch", "patch": patch.stdout}, A_RELEASE)

    assert judged.verdict is Verdict.PASSED, told(judged.report)
    assert gates_of(judged.report)["tests"]["evidence"]["head"] == {"passed": 78}


async def test_a_release_whose_source_is_half_reverted_fails_its_own_new_tests(company, tmp_path):
    """Cachetools 7.3.2 copies a cache's attributes.

    Without that hunk, the tests that it brings say so.
    """

    def forget(old: Files, new: Files) -> None:
        new["src/cachetools/__init__.py"] = old["src/cachetools/__init__.py"]

    repo = repository(tmp_path / "repo", release("cachetools", "7.3.1", "7.3.2"), forget)

    judged = await company.judge(
        repo.path, repo.base, {"kind": "patch", "patch": repo.patch}, A_RELEASE
    )

    tests = gates_of(judged.report)["tests"]
    assert judged.verdict is Verdict.FAILED, told(judged.report)
    assert tests["verdict"] == "failed"
    assert any(
        re.match(r"tests/test_lru\.py::LRUCacheTest::test_copy_attributes: .* failed on head", r)
        for r in tests["reasons"]
    ), told(judged.report)


async def test_a_release_without_its_tests_proves_nothing(company, tmp_path):
    def only_source(old: Files, new: Files) -> Files:
        kept = {path: content for path, content in new.items() if not path.startswith("tests/")}
        return kept | {path: content for path, content in old.items() if path.startswith("tests/")}

    repo = repository(tmp_path / "repo", release("cachetools", "7.3.1", "7.3.2"), only_source)

    judged = await company.judge(
        repo.path, repo.base, {"kind": "patch", "patch": repo.patch}, A_RELEASE
    )

    gates = gates_of(judged.report)
    assert judged.verdict is Verdict.FAILED, told(judged.report)
    assert gates["tests"]["verdict"] == "passed"
    assert gates["tests"]["evidence"]["head"] == {"passed": 426}
    assert gates["new_tests"]["reasons"] == [
        "the change adds or edits no test; a FEATURE task needs one that fails on base"
    ]


async def test_a_release_that_alters_what_tests_expect_is_refused_without_leave(company, tmp_path):
    """Humanize 4.15.0 says some things in other words.

    That may be right, and it is not for its author to say.
    """
    repo = repository(tmp_path / "repo", release("humanize", "4.14.0", "4.15.0"))
    strict = replace(A_RELEASE, test_changes_allowed=False)

    judged = await company.judge(
        repo.path, repo.base, {"kind": "patch", "patch": repo.patch}, strict
    )

    tests = gates_of(judged.report)["tests"]
    assert judged.verdict is Verdict.FAILED, told(judged.report)
    assert tests["evidence"]["base_copies"] == {"failed": 30, "passed": 636}
    assert "failed as base's copy on head" in "\n".join(tests["reasons"])
    assert "tests/test_i18n.py::test_intword_plurals[" in "\n".join(tests["reasons"])


async def test_a_release_that_drops_tests_is_refused_for_that_and_not_for_what_tests_do(
    company, tmp_path
):
    """Cachetools 8.0.0 broke with the past.

    Its change is taken as `vsc check --base --head` takes it.
    """
    repo = repository(tmp_path / "repo", release("cachetools", "7.3.2", "8.0.0"))
    change = await change_of(repo.path, repo.base, head=repo.head)

    judged = await company.judge(
        change.repository,
        change.base_commit,
        {"kind": "patch", "patch": change.patch},
        replace(A_RELEASE, test_changes_allowed=False),
    )

    gates = gates_of(judged.report)
    assert judged.verdict is Verdict.FAILED, told(judged.report)
    assert gates["tests"]["evidence"]["base"] == {"passed": 443}
    assert gates["tests"]["evidence"]["head"] == {"passed": 416}
    assert (
        sum("passes on base, gone on head" in reason for reason in gates["tests"]["reasons"]) == 76
    )
    assert gates["bandit"]["verdict"] == "passed"
    pickles = [one for one in gates["bandit"]["findings"] if one["rule"] == "B301" and one["new"]]
    assert {(one["path"], one["blocks"]) for one in pickles} == {("tests/test_cached.py", False)}


async def test_a_release_is_refused_for_its_style_alone_only_where_somebody_asked(
    company, tmp_path
):
    """Parse 1.22.4 is honest and tested, but ruff's defaults want one line written otherwise."""
    repo = repository(tmp_path / "repo", release("parse", "1.22.3", "1.22.4"))
    change = {"kind": "patch", "patch": repo.patch}
    asked = replace(A_RELEASE, linting_rules="ruff-defaults")

    unasked = await company.judge(repo.path, repo.base, change, A_RELEASE)
    judged = await company.judge(repo.path, repo.base, change, asked)

    gates = gates_of(judged.report)
    assert unasked.verdict is Verdict.PASSED, told(unasked.report)
    assert judged.verdict is Verdict.FAILED, told(judged.report)
    assert {name for name, gate in gates.items() if gate["verdict"] != "passed"} == {"lint"}
    assert any(re.match(r"parse/__init__\.py:\d+: UP031 ", r) for r in gates["lint"]["reasons"]), (
        told(judged.report)
    )


async def test_a_release_too_old_for_this_python_is_not_held_against_its_author(company, tmp_path):
    """Base cannot be tested: itsdangerous 2.1.0 pins a pytest that Python 3.13 warns about.

    It makes every warning an error.
    """
    repo = repository(tmp_path / "repo", release("itsdangerous", "2.1.0", "2.1.1"))

    judged = await company.judge(
        repo.path, repo.base, {"kind": "patch", "patch": repo.patch}, A_RELEASE
    )

    tests = gates_of(judged.report)["tests"]
    assert judged.verdict is Verdict.INCONCLUSIVE, told(judged.report)
    assert tests["reasons"][0].startswith("base itself cannot be tested: ")
    assert "ast.Str is deprecated" in judged.report["base_trouble"]
    assert judged.run.cause.startswith("base could not be tested: ")
    async with company.company.services.sessions() as session:
        judgement = await session.get_one(Judgement, judged.run.id)
    assert judgement.attempt == 0, "base is the same when it is judged again"


def gates_of(report):
    return {gate["gate"]: gate for gate in report["gates"] if gate["applicable"]}


def told(report) -> str:
    """What a person needs of a report to see why it came out otherwise."""
    return "\n".join(
        f"{gate['gate']}: {gate['verdict']} {gate['reasons']} {gate['notes']}"
        for gate in report["gates"]
    )

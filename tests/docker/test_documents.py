"""Whole sessions whose product is a document: submitted through the door, or left as a file."""

import hashlib
import json

import pytest
from cheat_cases import Case, base_repository
from company_kit import test_company as a_company

from control_plane.repos.sources import FromPath
from control_plane.runs.models import Run
from control_plane.runs.rules import RunState
from control_plane.sessions.drivers import CommandDriver
from control_plane.sessions.models import AgentSession
from control_plane.sessions.rules import SessionStatus
from control_plane.sessions.service import queue_session
from quality_gates.model import Verdict

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

SCHEMA = {
    "type": "object",
    "required": ["title"],
    "properties": {"title": {"type": "string"}, "answers": {"type": "array"}},
}
SUBMITS = """
import http.client, json, os, sys

def submit(document):
    door = http.client.HTTPConnection("127.0.0.1", int(os.environ["VSC_GATEWAY_PORT"]))
    door.request("POST", "/submit", json.dumps(document))
    answer = door.getresponse()
    return answer.status, json.loads(answer.read())
"""
LEARNS = (
    SUBMITS
    + """
status, told = submit({"title": 1})
if status == 422:
    submit({"title": "first"})
    print(submit({"title": "second", "answers": [status, told["errors"], told["tries_left"]]}))
"""
)
GIVES_UP = (
    SUBMITS
    + """
codes = [submit({"title": n})[0] for n in range(4)] + [submit({"title": "good"})[0]]
open("/out/document.json", "w").write(json.dumps({"title": str(codes)}))
print(codes)
"""
)
LEAVES = """
open("/out/document.json", "w").write('{"title": "a file"}')
"""
FORBIDDEN = (
    SUBMITS
    + """
sys.exit(0 if submit({"title": "x"})[0] == 403 else 9)
"""
)


@pytest.fixture(scope="module")
async def company():
    async with a_company(judge_again=0, poll_s=0.2) as opened:
        yield opened


@pytest.fixture(scope="module")
async def repository(company, tmp_path_factory):
    folder = tmp_path_factory.mktemp("repositories") / "toolbox"
    base_repository(folder, Case("none", "", Verdict.PASSED, None))
    repo, base = await company.imported("toolbox", FromPath(folder))
    return repo.id, base


async def session_of(company, repository, script, schema=SCHEMA):
    """The run and the row of a session at its end."""
    repo_id, base = repository
    sessions = company.company.services.sessions
    async with sessions.begin() as session:
        run_id = await queue_session(
            session,
            repo_id=repo_id,
            base_commit=base,
            deadline_s=120.0,
            driver=CommandDriver(("/opt/vsc/bin/python", "-c", script)),
            output_schema=schema,
        )
    company.company.worker.poke()
    async with sessions() as session:
        run = await session.get_one(Run, run_id)
    run = await company.ended(run)
    async with sessions() as session:
        return run, await session.get_one(AgentSession, run_id)


async def document_of(company, own):
    return json.loads(await company.company.services.blobs.read(own.document_sha256, 2**20))


async def test_an_agent_is_told_what_is_wrong_and_its_last_valid_document_is_the_product(
    company, repository
):
    run, own = await session_of(company, repository, LEARNS)

    assert (run.state, own.status) == (RunState.FINISHED, SessionStatus.SUCCESS), run.cause
    assert await document_of(company, own) == {
        "title": "second",
        "answers": [422, [{"path": "$.title", "message": "1 is not of type 'string'"}], 2],
    }
    assert (own.valid_submits, own.invalid_submits, own.patch_sha256) == (2, 1, None)


async def test_three_invalid_tries_end_it_whatever_lies_in_a_file(company, repository):
    run, own = await session_of(company, repository, GIVES_UP)

    assert (own.status, own.document_sha256) == (SessionStatus.FAILURE, None)
    assert "3 submitted documents were invalid" in run.cause
    assert own.invalid_submits == 3
    assert "patch" not in run.cause


async def test_a_failing_command_that_left_a_document_has_it_kept_and_no_patch(company, repository):
    run, own = await session_of(company, repository, LEAVES + "raise SystemExit(3)")

    assert own.status is SessionStatus.FAILURE
    assert run.cause.endswith("; the document that it left is kept as the run's document")
    assert own.document_sha256 is not None


async def test_a_command_that_knows_no_door_leaves_a_file(company, repository):
    run, own = await session_of(company, repository, LEAVES)

    assert own.status is SessionStatus.SUCCESS, run.cause
    assert own.document_sha256 == hashlib.sha256(b'{"title": "a file"}').hexdigest()


async def test_a_session_that_makes_a_patch_has_nothing_to_submit(company, repository):
    run, own = await session_of(company, repository, FORBIDDEN, schema=None)

    assert own.status is SessionStatus.SUCCESS, run.cause

"""The operator API over real PostgreSQL, real git and a real blob directory."""

import asyncio
import hashlib
import json
import subprocess
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, update

from control_plane.api.app import create_app
from control_plane.auth import service as auth
from control_plane.auth.models import ApiToken
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.db.base import new_id
from control_plane.judgements.models import Judgement
from control_plane.judgements.service import queue_judgement
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.models import Snapshot
from control_plane.repos.snapshots import Snapshots
from control_plane.runs.models import LogChunk, Run, Sandbox
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState, SandboxState
from control_plane.services import Services
from control_plane.sessions.models import AgentSession
from control_plane.tasks.models import Task
from control_plane.tasks.moves import move_task
from control_plane.tasks.rules import TaskStatus
from control_plane.tasks.service import latest_runs
from quality_gates.model import GatePolicy, GateReport, TaskReport, Verdict
from quality_gates.render.markdown import render
from quality_gates.report import to_json

REPORT = to_json(
    TaskReport(
        verdict=Verdict.FAILED,
        gates=(
            GateReport(
                "tests",
                Verdict.FAILED,
                ("test_a fails",),
                evidence={"failed": ["test_a"]},
                exit_code=1,
            ),
            GateReport("coverage", Verdict.PASSED, ("nothing to cover",), applicable=False),
        ),
        base_commit="0" * 40,
        patch_sha256="0" * 64,
        image="sha256:0",
        environment_sha256="0" * 64,
        policy=GatePolicy(),
    )
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("repository")
    git = ["git", "-C", str(path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (path / "module.py").write_text("x = 1\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    return path


@pytest.fixture
async def services(sessions, tmp_path):
    async def fit():
        return "fine"

    store, mirrors = DirectoryBlobs(tmp_path / "blobs"), Mirrors(tmp_path / "repos")
    return Services(
        sessions=sessions,
        mirrors=mirrors,
        snapshots=Snapshots(sessions, mirrors, LocalDepot(store), tmp_path / "snapshots"),
        blobs=ThreadedBlobs(store),
        pages={"md": render},
        probes={"database": fit},
        upload_bytes=100_000,
    )


@pytest.fixture
def app(services):
    return create_app(services)


@pytest.fixture
async def token(sessions):
    async with sessions.begin() as session:
        return await auth.issue(session, f"tester-{new_id()}")


@pytest.fixture
async def client(app, token):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://vsc", headers=headers
    ) as client:
        yield client


@pytest.fixture
async def repo_key(client, repository):
    key = f"repo-{new_id()}"
    answer = await client.post(
        "/v1/repositories", json={"key": key, "source": {"kind": "path", "path": str(repository)}}
    )
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["head"]) == 40
    return key


@pytest.fixture
async def submission(client, repo_key):
    patch = await client.post("/v1/blobs", content=b"a patch")
    assert patch.json()["sha256"] == hashlib.sha256(b"a patch").hexdigest()
    return {"repository": repo_key, "patch": patch.json()["sha256"]}


@pytest.fixture
async def command(client, repo_key):
    """The id of a task whose change a command makes."""
    driver = {"kind": "command", "argv": ["true"]}
    answer = await client.post("/v1/tasks", json={"repository": repo_key, "driver": driver})
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.fixture
async def task(client, submission):
    answer = await client.post("/v1/tasks", json=submission)
    assert answer.status_code == 202, answer.text
    return answer.json()


def spec_packet():
    return {
        "schema_version": "1.0",
        "packet_id": f"ctx_{uuid4().hex}",
        "trace_id": "trace_7b12f9",
        "timestamp": "2025-11-23T14:00:00Z",
        "hierarchy": {
            "project_id": "PROJ-001",
            "module_id": "AUTH-001",
            "assigned_agent_id": "MidDev-Agent-12",
            "assigned_agent_role": "MidDev",
        },
        "task_definition": {
            "task_id": f"TASK-LOGIN-{uuid4().hex[:8]}",
            "summary": "Implement POST /login",
            "priority": "HIGH",
            "task_type": "BUGFIX",
            "acceptance_criteria": ["401 on invalid credentials"],
            "requirements_links": ["vector://prds/PRD_AUTH#REQ-102"],
        },
        "technical_context": {
            "tech_stack": ["Redis"],
            "constraints": [],
            "dependencies": [],
            "shared_docs_refs": [],
        },
        "quality_gates": {
            "testing_requirements": ["Unit test 401 case"],
            "linting_rules": "ruff-defaults",
            "coverage_minimum": 0.9,
            "security_level": "HIGH",
        },
        "communication_channel": {
            "supervisor_id": "TeamLead-Agent-AUTH",
            "escalation_trigger": "IF_BLOCKED_10_MINUTES",
            "allowed_contacts": [],
            "log_channel_id": "log_auth_team",
        },
    }


async def run_row(sessions, task):
    async with sessions() as session:
        return await session.scalar(select(Run).where(Run.id == task["run_id"]))


# --- who may ask --------------------------------------------------------------


async def test_every_route_but_liveness_asks_for_a_token(app):
    paths = {path: list(verbs) for path, verbs in app.openapi()["paths"].items()} | {
        "/v1/openapi.json": ["get"],
        "/nowhere": ["get"],
    }
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vsc") as client:
        for path, verbs in paths.items():
            for verb in verbs:
                answer = await client.request(
                    verb, path.replace("{", "").replace("}", ""), content=b"{not json"
                )
                expected = 200 if path == "/v1/health/live" else 401
                assert answer.status_code == expected, (verb, path)
    assert len(paths) > 15


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Bearer ", "Bearer vsc_0123456789abcdef0123456789", "Basic dXNlcjpwYXNz",
        "bearer x" * 100, "Bearer " + "\xff" * 17,
    ],
)  # fmt: skip
async def test_a_wrong_token_is_no_token(app, header):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://vsc"
    ) as client:
        answer = await client.get("/v1/tasks", headers={"authorization": header.encode("latin-1")})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_expired_or_revoked_token_and_two_tokens_at_once_are_refused(
    app, sessions, client, token
):
    async with sessions.begin() as session:
        old = await auth.issue(session, f"old-{new_id()}", datetime.now(UTC) - timedelta(seconds=1))
    assert (
        await client.get("/v1/tasks", headers={"authorization": f"Bearer {old}"})
    ).status_code == 401
    assert (await client.get("/v1/tasks")).status_code == 200
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://vsc"
    ) as other:
        twice = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
        assert (await other.get("/v1/tasks", headers=twice)).status_code == 401
    async with sessions.begin() as session:
        await session.execute(
            update(ApiToken)
            .where(ApiToken.token_sha256 == auth.hash_of(token))
            .values(revoked_at=func.now())
        )
    assert (await client.get("/v1/tasks")).status_code == 401


async def test_the_local_token_is_private_is_kept_and_is_made_anew_when_it_stops_working(
    sessions, tmp_path
):
    async with sessions.begin() as session:
        path = await auth.ensure_local_token(session, tmp_path)
    first = path.read_text()
    async with sessions.begin() as session:
        await auth.ensure_local_token(session, tmp_path)
    assert path.read_text() == first
    assert path.stat().st_mode & 0o777 == 0o600
    async with sessions.begin() as session:
        await session.execute(
            update(ApiToken)
            .where(ApiToken.token_sha256 == auth.hash_of(first.strip()))
            .values(revoked_at=func.now())
        )
    async with sessions.begin() as session:
        await auth.ensure_local_token(session, tmp_path)
        assert await auth.authenticate(session, path.read_text().strip()) is not None
    assert path.read_text() != first


# --- hostile requests ---------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[" * 100_000, b'{"key": ' + b"9" * 5000 + b"}", b'{"key": "a", "key": "b"}',
        b'{"key": NaN}', b'{"key": Infinity}', b'{"key": 1e400}', b"\xef\xbb\xbf{}",
        b'{"key": "\xff"}', b'{"key": "\\ud800"}',
        b'{"key": "a\\u0000b", "name": "n", "client_name": "c"}',
    ],
)  # fmt: skip
async def test_a_body_that_parsers_could_read_differently_is_a_bad_request(client, body):
    answer = await client.post(
        "/v1/projects", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("announced", [True, False])
async def test_a_huge_body_is_refused(client, announced):
    async def endless():
        for _ in range(50):
            yield b" " * 2**20

    content = b" " * 2**20 if announced else endless()
    answer = await client.post(
        "/v1/projects", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413


async def test_compressed_bodies_and_other_media_types_are_refused(client):
    gzip = {"content-type": "application/json", "content-encoding": "gzip"}
    assert (await client.post("/v1/projects", content=b"{}", headers=gzip)).status_code == 415
    assert (
        await client.post("/v1/projects", content=b"{}", headers={"content-type": "text/plain"})
    ).status_code == 415


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"key": 1}, "key"), ({"key": "a/b"}, "key"), ({"name": None}, "name"),
        ({"extra": 1}, "extra"), ({"name": "n" * 201}, "name"),
        ({"client_name": True}, "client_name"),
    ],
)  # fmt: skip
async def test_a_field_that_does_not_fit_is_named(client, change, path):
    answer = await client.post(
        "/v1/projects", json={"key": "P-1", "name": "n", "client_name": "c"} | change
    )

    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [path]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tasks/%00", "/v1/projects/%ff", "/v1/runs/not-a-uuid", "/v1/tasks?after=x",
        "/v1/tasks?limit=0", "/v1/nowhere", "/v1/tasks?status=%27%3B--",
        "/v1/runs/00000000-0000-0000-0000-000000000000/logs", "/v1/modules?project=%00",
        "/v1/runs/00000000-0000-0000-0000-000000000000/events?after=99999999999999999999",
        "/v1/tasks/x/report", "/v1/runs/00000000-0000-0000-0000-000000000000/events?wait_s=nan",
        "/v1/tasks/" + "x" * 5000,
    ],
)  # fmt: skip
async def test_a_strange_path_or_query_is_the_senders_fault(client, path):
    answer = await client.get(path)

    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code


# --- what is kept -------------------------------------------------------------


async def test_projects_and_modules_are_made_once_and_found_by_key_and_id(client):
    key = f"PROJ-{new_id()}"
    made = (
        await client.post("/v1/projects", json={"key": key, "name": "n", "client_name": "c"})
    ).json()
    again = await client.post("/v1/projects", json={"key": key, "name": "n", "client_name": "c"})
    module = await client.post(
        "/v1/modules", json={"key": f"AUTH-{new_id()}", "project": key, "tech_stack": ["Redis"]}
    )

    assert again.status_code == 409
    assert (await client.get(f"/v1/projects/{made['id']}")).json() == made
    assert module.json()["project_id"] == made["id"]
    assert [
        item["id"] for item in (await client.get(f"/v1/modules?project={key}")).json()["items"]
    ] == [module.json()["id"]]


async def test_pages_neither_double_nor_miss(client):
    new = {"name": "n", "client_name": "c"}
    made = [
        (await client.post("/v1/projects", json=new | {"key": f"P-{new_id()}"})).json()["id"]
        for _ in range(5)
    ]
    seen, cursor = [], None
    while len(seen) < 5:
        page = (
            await client.get(
                "/v1/projects", params={"limit": 2} | ({"after": cursor} if cursor else {})
            )
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        await client.post(
            "/v1/projects", json={"key": f"P-{new_id()}", "name": "late", "client_name": "c"}
        )

    assert seen[:5] == made[::-1]


async def test_a_repository_comes_from_a_path_or_an_uploaded_archive_and_never_from_inside(
    client, repository, services
):
    git = ["git", "-C", str(repository), "archive", "HEAD"]
    archive = (await asyncio.to_thread(subprocess.run, git, check=True, capture_output=True)).stdout
    sha256 = (await client.post("/v1/blobs", content=archive)).json()["sha256"]
    key = f"a-{new_id()}"
    made = await client.post(
        "/v1/repositories", json={"key": key, "source": {"kind": "archive", "sha256": sha256}}
    )
    inside = await client.post(
        "/v1/repositories",
        json={"key": f"b-{new_id()}", "source": {"kind": "https", "url": "https://127.0.0.1/x"}},
    )
    missing = await client.post(
        "/v1/repositories",
        json={"key": f"c-{new_id()}", "source": {"kind": "path", "path": "/nowhere"}},
    )

    assert made.status_code == 201, made.text
    assert (await client.get(f"/v1/repositories/{key}")).json()["source"] == f"archive {sha256}"
    assert (inside.status_code, missing.status_code) == (422, 422)


async def test_an_upload_has_a_limit(client):
    assert (await client.post("/v1/blobs", content=b"x" * 100_001)).status_code == 413


# --- tasks --------------------------------------------------------------------


async def test_a_task_without_a_packet_gets_the_defaults_and_a_queued_run(client, sessions, task):
    policy = task["judgement"]["judgement"]["policy"]

    assert (task["status"], task["run_state"], task["task_type"]) == ("QUEUED", "QUEUED", "FEATURE")
    assert policy["coverage_minimum"] == 0.8
    assert (policy["security_level"], policy["linting_rules"]) == ("MEDIUM", "project")
    assert policy["test_changes_allowed"] is False
    assert task["judgement"]["judgement"]["patch_sha256"] == task["patch_sha256"]
    assert (task["session"], task["driver"]) == (None, None), (
        "a change that is there needs no session"
    )
    assert (await client.get(f"/v1/tasks/{task['key']}")).json() == task


async def test_a_packet_decides_key_type_and_gates(client, sessions, submission):
    packet = spec_packet()
    task = (
        await client.post(
            "/v1/tasks", json=submission | {"packet": packet, "test_changes_allowed": True}
        )
    ).json()
    policy = task["judgement"]["judgement"]["policy"]

    assert (task["key"], task["task_type"], task["priority"]) == (
        packet["task_definition"]["task_id"],
        "BUGFIX",
        "HIGH",
    )
    assert (policy["coverage_minimum"], policy["security_level"]) == (0.9, "HIGH")
    assert policy["testing_requirements"] == ["Unit test 401 case"]
    assert (policy["test_changes_allowed"], task["test_changes_allowed"]) == (True, True)
    again = (await client.post("/v1/tasks", json=submission | {"packet": packet})).json()
    assert again["key"].startswith(task["key"] + "-")
    assert again["id"] != task["id"]


async def test_a_task_without_a_packet_may_name_its_type_and_one_with_a_packet_may_not(
    client, sessions, submission
):
    task = (await client.post("/v1/tasks", json=submission | {"task_type": "REFACTOR"})).json()
    twice = await client.post(
        "/v1/tasks", json=submission | {"task_type": "REFACTOR", "packet": spec_packet()}
    )
    unknown = await client.post("/v1/tasks", json=submission | {"task_type": "CHORE"})

    asked = task["judgement"]["judgement"]["policy"]["task_type"]
    assert (task["task_type"], asked) == ("REFACTOR", "REFACTOR")
    assert (twice.status_code, unknown.status_code) == (422, 422)
    assert "leave task_type out" in twice.json()["errors"][0]["message"]


async def test_the_patch_of_a_run_is_an_attachment_also_of_one_that_was_cancelled(
    client, sessions, services, command
):
    task = command
    before = await client.get(f"/v1/runs/{task['run_id']}/patch")
    diff = b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-<script>\n+\xff\r\n"
    async with sessions.begin() as session:
        await move_run(session, task["run_id"], RunState.CANCELLED, epoch=None)
        own = await session.get_one(AgentSession, task["run_id"])
        own.patch_sha256 = (await services.blobs.put(diff)).sha256
    after = await client.get(f"/v1/runs/{task['run_id']}/patch")

    assert before.status_code == 404
    assert "has not been collected" in before.json()["detail"]
    assert (after.status_code, after.content) == (200, diff)
    assert after.headers["content-type"].startswith("text/x-diff")
    assert after.headers["content-disposition"] == f'attachment; filename="{task["run_id"]}.patch"'
    assert after.headers["x-content-type-options"] == "nosniff"


async def test_a_session_is_asked_for_with_a_schema_and_its_document_is_handed_out(
    client, sessions, services, repo_key
):
    asked = {
        "repository": repo_key,
        "driver": {"kind": "command", "argv": ["true"]},
        "output_schema": {"type": "object"},
    }
    answer = await client.post("/v1/sessions", json=asked)
    run = answer.json()
    before = await client.get(f"/v1/runs/{run['id']}/document")
    async with sessions.begin() as session:
        own = await session.get_one(AgentSession, UUID(run["id"]))
        own.document_sha256 = (await services.blobs.put(b'{"a": "<script>"}')).sha256
    after = await client.get(f"/v1/runs/{run['id']}/document")
    patch = await client.get(f"/v1/runs/{run['id']}/patch")

    assert answer.status_code == 202, answer.text
    assert (run["kind"], run["task_id"]) == ("session", None)
    assert run["session"]["output_schema"] == {"type": "object"}
    assert (run["session"]["valid_submits"], run["session"]["invalid_submits"]) == (0, 0)
    assert before.status_code == 404
    assert (after.status_code, after.json()) == (200, {"a": "<script>"})
    assert patch.status_code == 404
    assert "asked for a document" in patch.json()["detail"]
    assert after.headers["content-type"] == "application/json"
    assert after.headers["x-content-type-options"] == "nosniff"


@pytest.fixture
async def asked(client, repo_key):
    """A session without a task, asked for."""
    document = {
        "repository": repo_key,
        "driver": {"kind": "command", "argv": ["true"]},
        "output_schema": {"type": "object"},
    }
    return (await client.post("/v1/sessions", json=document)).json()


async def test_a_session_without_a_task_is_cancelled_and_twice_is_harmless(client, sessions, asked):
    path = f"/v1/sessions/{asked['id']}/cancel"
    answers = [await client.post(path) for _ in range(2)]
    async with sessions.begin() as session:
        await move_run(session, UUID(asked["id"]), RunState.CANCELLED, epoch=None)
    answers.append(await client.post(path))

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [answer.json()["state"] for answer in answers] == ["QUEUED", "QUEUED", "CANCELLED"]
    events = (await client.get(f"/v1/runs/{asked['id']}/events")).json()["items"]
    assert [event["kind"] for event in events].count("cancel.requested") == 1


async def test_what_is_no_session_of_its_own_is_not_cancelled_as_one(
    client, sessions, asked, submission
):
    driver = {"kind": "command", "argv": ["true"]}
    task = (
        await client.post("/v1/tasks", json=submission | {"patch": None, "driver": driver})
    ).json()
    async with sessions.begin() as session:
        await move_run(session, UUID(asked["id"]), RunState.LOST, epoch=None)

    part = await client.post(f"/v1/sessions/{task['run_id']}/cancel")
    ended = await client.post(f"/v1/sessions/{asked['id']}/cancel")
    nowhere = await client.post(f"/v1/sessions/{uuid4()}/cancel")

    assert (part.status_code, ended.status_code, nowhere.status_code) == (409, 409, 404)
    assert f"POST /v1/tasks/{task['id']}/cancel" in part.json()["detail"]


@pytest.mark.parametrize(
    "schema", [{"type": "no such type"}, {"$ref": "https://example.org/s.json"}, {"$ref": "#"}]
)
async def test_a_schema_that_nobody_could_satisfy_is_refused_at_once(
    client, sessions, repo_key, schema
):
    driver = {"kind": "command", "argv": ["true"]}
    asked = {"repository": repo_key, "driver": driver, "output_schema": schema}
    answer = await client.post("/v1/sessions", json=asked)

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:vsc:problem:schema_unusable"
    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(AgentSession)) == 0


@pytest.mark.parametrize("value", [True, "80", -1, 101, None])
async def test_a_packet_that_is_invalid_is_refused_with_the_path_and_nothing_is_kept(
    client, sessions, submission, value
):
    packet = spec_packet()
    packet["quality_gates"]["coverage_minimum"] = value
    async with sessions() as session:
        before = await session.scalar(select(func.count()).select_from(Task))

    answer = await client.post("/v1/tasks", json=submission | {"packet": packet})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "quality_gates.coverage_minimum"
    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Task)) == before


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"repository": "nowhere"}, 404), ({"base": "no-such-revision"}, 422),
        ({"base": "--output=/tmp/x"}, 422), ({"module": "nowhere"}, 404),
        ({"patch": "0" * 64}, 404), ({"patch": "../../etc/passwd"}, 422), ({"patch": None}, 422),
        ({"driver": {"kind": "command", "argv": ["a"]}}, 422),
        ({"patch": None, "driver": {"kind": "llm"}}, 422),
        ({"patch": None, "driver": {"kind": "command", "argv": []}}, 422),
        ({"patch": None, "driver": {"kind": "command", "argv": [1]}}, 422),
        ({"patch": None, "driver": {"kind": (
            "command"
        ), "argv": ["a"], "environ": {"A=B": "c"}}}, 422),
        ({(
            "deadline_s"
        ): 0}, 422), ({"patch": None, "driver": {"kind": "command", "argv": ["a"]}}, 202), ({(
            "deadline_s"
        ): "60"}, 202), ({(
            "test_changes_allowed"
        ): 1}, 422), ({"unknown": 1}, 422),
    ],
)  # fmt: skip
async def test_a_submission_that_cannot_be_done_is_refused(client, submission, change, status):
    answer = await client.post("/v1/tasks", json=submission | change)

    assert answer.status_code == status, answer.text


async def test_the_same_request_fifty_times_at_once_is_one_task(client, sessions, submission):
    headers = {"idempotency-key": str(uuid4())}

    answers = await asyncio.gather(
        *(client.post("/v1/tasks", json=submission, headers=headers) for _ in range(50))
    )

    assert {answer.status_code for answer in answers} == {202}
    [only] = {answer.json()["id"] for answer in answers}
    async with sessions() as session:
        assert (
            await session.scalar(select(func.count()).select_from(Run).where(Run.task_id == only))
            == 1
        )
    other = await client.post("/v1/tasks", json=submission | {"deadline_s": 60}, headers=headers)
    assert other.status_code == 422


async def test_another_operator_may_use_the_same_idempotency_key(client, sessions, submission):
    headers = {"idempotency-key": str(uuid4())}
    first = (await client.post("/v1/tasks", json=submission, headers=headers)).json()
    async with sessions.begin() as session:
        second_token = await auth.issue(session, f"second-{new_id()}")
    second = await client.post(
        "/v1/tasks", json=submission, headers=headers | {"authorization": f"Bearer {second_token}"}
    )

    assert second.json()["id"] != first["id"]


async def test_cancel_asks_the_run_to_stop_and_twice_is_harmless(client, sessions, task):
    for _ in range(2):
        assert (await client.post(f"/v1/tasks/{task['id']}/cancel")).status_code == 202
    run = await run_row(sessions, task)
    events = (await client.get(f"/v1/runs/{run.id}/events")).json()

    assert run.cancel_requested_at is not None
    assert [event["kind"] for event in events["items"]] == ["queued", "cancel.requested"]


async def end(sessions, task, to=RunState.CANCELLED, status=TaskStatus.CANCELLED, **changes):
    """What a worker does at the end of a run."""
    async with sessions.begin() as session:
        await move_run(session, task["run_id"], to, epoch=None, changes=changes)
        await move_task(session, task["id"], status)


async def test_cancel_and_the_end_of_the_run_at_once_leave_one_end(client, sessions, submission):
    for _ in range(15):
        task = (await client.post("/v1/tasks", json=submission)).json()
        answer, _ = await asyncio.gather(
            client.post(f"/v1/tasks/{task['id']}/cancel"), end(sessions, task)
        )
        after = (await client.get(f"/v1/tasks/{task['id']}")).json()

        assert answer.status_code == 202
        assert (after["status"], after["run_state"]) == ("CANCELLED", "CANCELLED")


async def test_what_is_approved_cannot_be_cancelled(client, sessions, task):
    async with sessions.begin() as session:
        await move_run(session, task["run_id"], RunState.CANCELLED, epoch=None)
        for status in (TaskStatus.IN_PROGRESS, TaskStatus.READY_FOR_REVIEW, TaskStatus.APPROVED):
            await move_task(session, task["id"], status)

    assert (await client.post(f"/v1/tasks/{task['id']}/cancel")).status_code == 409


@pytest.mark.parametrize("what", ["task", "session"])
async def test_what_is_asked_for_can_be_begun_in_any_home(
    client, services, sessions, submission, what
):
    """No site has it, and the archive of its base is there before it is queued."""
    document = {
        "repository": submission["repository"],
        "driver": {"kind": "command", "argv": ["true"]},
        "output_schema": {},
    }
    if what == "task":
        run_id = (await client.post("/v1/tasks", json=submission)).json()["run_id"]
    else:
        run_id = (await client.post("/v1/sessions", json=document)).json()["id"]

    async with sessions() as session:
        run = await session.get_one(Run, UUID(run_id))
        snapshot = await session.get_one(Snapshot, (run.repo_id, run.base_commit))
    assert run.site_id is None
    assert (await services.blobs.stat(snapshot.archive_sha256)).size_bytes > 0


# --- watching -----------------------------------------------------------------


async def test_events_are_waited_for_and_the_last_is_known_to_be_the_last(client, sessions, task):
    first = (await client.get(f"/v1/runs/{task['run_id']}/events")).json()
    assert (first["next"], first["ended"]) == (1, False)
    waiting = asyncio.create_task(
        client.get(f"/v1/runs/{task['run_id']}/events", params={"after": 1, "wait_s": 10})
    )
    await asyncio.sleep(0.1)
    await end(sessions, task)

    answer = (await waiting).json()

    assert [event["payload"]["to"] for event in answer["items"]] == ["CANCELLED"]
    assert (answer["ended"], answer["state"]) == (True, "CANCELLED")


async def test_events_as_a_stream_go_to_the_end_and_are_taken_up_where_they_broke(
    client, sessions, task
):
    path, headers = f"/v1/runs/{task['run_id']}/events", {"accept": "text/event-stream"}
    watching = asyncio.create_task(client.get(path, headers=headers))
    await asyncio.sleep(0.1)
    await end(sessions, task)
    whole, fresh = (await watching).text, (await client.get(path)).json()["items"]
    rest = (await client.get(path, headers=headers | {"last-event-id": "1"})).text

    told = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: ")]
    assert told == [*fresh, {"state": "CANCELLED", "verdict": None, "cause": ""}]
    assert whole.endswith(rest)
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == ["id: 2"]
    nowhere = await client.get(f"/v1/runs/{new_id()}/events", headers=headers)
    assert nowhere.status_code == 404


async def a_sandbox(sessions, task, stage="execute"):
    row = Sandbox(
        id=new_id(),
        run_id=task["run_id"],
        stage=stage,
        name=f"vsc-{new_id()}",
        fingerprint="f",
        spec={},
        state=SandboxState.LAUNCHED,
    )
    async with sessions.begin() as session:
        session.add(row)
    return row.id


async def log(sessions, sandbox_id, seq, data, stream="stdout"):
    async with sessions.begin() as session:
        session.add(LogChunk(sandbox_id=sandbox_id, stream=stream, seq=seq, data=data))


def records(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_log_is_followed_to_an_explicit_end_even_while_it_moves_to_a_blob(
    client, services, sessions, task
):
    sandbox = await a_sandbox(sessions, task)
    await log(sessions, sandbox, 0, "grüß".encode()[:3])  # a character cut in two
    following = asyncio.create_task(
        client.get(f"/v1/runs/{task['run_id']}/logs", params={"follow": True})
    )
    await asyncio.sleep(0.2)
    await log(sessions, sandbox, 1, "grüß".encode()[3:])
    await asyncio.sleep(0.6)
    sealed = await services.blobs.put("grüß dich\n".encode())
    async with sessions.begin() as session:
        row = await session.get_one(Sandbox, sandbox)
        row.outcome = {
            "ended": "completed",
            "exit_code": 0,
            "detail": "",
            "streams": {"stdout": {"sha256": sealed.sha256}},
        }
        await session.delete(await session.get_one(LogChunk, (sandbox, "stdout", 0)))
    await end(sessions, task)

    lines = records(await following)

    assert "".join(line["text"] for line in lines[:-1]) == "grüß dich\n"
    assert lines[-1] == {"end": True, "state": "CANCELLED", "verdict": None, "cause": ""}


async def test_a_log_can_be_read_from_an_offset_as_lines_or_as_events(client, sessions, task):
    sandbox = await a_sandbox(sessions, task, "head")
    for seq, data in enumerate([b"0123", b"4567", b"89"]):
        await log(sessions, sandbox, seq, data)
    path = f"/v1/runs/{task['run_id']}/logs"
    part = records(
        await client.get(path, params={"stage": "head", "stream": "stdout", "offset": 6})
    )
    events = (await client.get(path, headers={"accept": "text/event-stream"})).text

    assert "".join(line.get("text", "") for line in part) == "6789"
    assert events.count("event: log\n") == 3
    assert events.endswith('"cause": ""}\n\n')
    assert (await client.get(path, params={"offset": 6})).status_code == 400


async def test_a_log_that_is_not_text_is_still_shown(client, sessions, task):
    await log(sessions, await a_sandbox(sessions, task), 0, b"\xff\x00ok")

    assert records(await client.get(f"/v1/runs/{task['run_id']}/logs"))[0]["text"] == "\ufffd\x00ok"


async def test_a_report_is_given_as_json_and_as_markdown_and_is_never_taken_for_a_page(
    client, services, sessions, task
):
    assert (await client.get(f"/v1/tasks/{task['key']}/report")).status_code == 404
    kept = await services.blobs.put(json.dumps(REPORT).encode())
    async with sessions.begin() as session:
        run = await session.get_one(Run, task["run_id"])
        run.verdict = Verdict.FAILED
        (await session.get_one(Judgement, run.id)).report_sha256 = kept.sha256

    assert (await client.get(f"/v1/tasks/{task['key']}/report")).json() == REPORT
    markdown = await client.get(f"/v1/runs/{task['run_id']}/report", params={"format": "md"})
    assert "| tests | failed | test\\_a fails |\n| coverage | not applicable |" in markdown.text
    assert (markdown.headers["content-type"], markdown.headers["x-content-type-options"]) == (
        "text/markdown; charset=utf-8",
        "nosniff",
    )


async def test_a_session_that_left_nothing_to_judge_has_a_page_that_says_why(
    client, sessions, command
):
    path = f"/v1/runs/{command['run_id']}/report"
    assert (await client.get(path)).status_code == 404
    async with sessions.begin() as session:
        for state in (RunState.HYDRATING, RunState.EXECUTING, RunState.DEHYDRATING):
            await move_run(session, command["run_id"], state, epoch=None)
        failed = {"verdict": Verdict.FAILED}
        await move_run(
            session,
            command["run_id"],
            RunState.FINISHED,
            epoch=None,
            cause="exit code 3",
            changes=failed,
        )

    page = (await client.get(path)).json()
    markdown = (await client.get(f"/v1/tasks/{command['key']}/report?format=md")).text
    shown = (await client.get(f"/v1/tasks/{command['id']}")).json()

    assert (page["verdict"], page["gates"], page["notes"]) == ("failed", [], ["exit code 3"])
    assert "# Verdict: failed" in markdown
    assert (shown["session"]["verdict"], shown["judgement"]) == ("failed", None)


async def test_a_session_whose_patch_is_judged_names_the_run_that_does(client, sessions, command):
    async with sessions.begin() as session:
        task = await session.get_one(Task, UUID(command["id"]))
        own = await session.get_one(AgentSession, UUID(command["run_id"]))
        own.patch_sha256 = "0" * 64
        judged = await queue_judgement(
            session,
            task_id=task.id,
            repo_id=task.repo_id,
            base_commit=task.base_commit,
            deadline_s=60.0,
            policy=task.policy,
            patch_sha256=own.patch_sha256,
            session_id=own.run_id,
        )
    task = (await client.get(f"/v1/tasks/{command['id']}")).json()
    report = await client.get(f"/v1/runs/{command['run_id']}/report")

    assert (task["run_id"], task["judgement"]["id"]) == (str(judged), str(judged))
    assert (
        task["judgement"]["judgement"]["session_id"] == task["session"]["id"] == command["run_id"]
    )
    assert report.status_code == 404
    assert f"judged in run {judged}" in report.json()["detail"]


async def finish(sessions, task, verdict, status):
    """What a judge does."""
    async with sessions.begin() as session:
        run_id = (await latest_runs(session, [UUID(task["id"])]))[UUID(task["id"])].id
        for state in (RunState.HYDRATING, RunState.VERIFYING):
            await move_run(session, run_id, state, epoch=None)
        await move_run(session, run_id, RunState.FINISHED, epoch=None, changes={"verdict": verdict})
        for to in (TaskStatus.IN_PROGRESS, status):
            await move_task(session, UUID(task["id"]), to)


async def test_a_patch_is_judged_again_when_asked_and_never_while_a_run_is_under_way(
    client, sessions, task
):
    path = f"/v1/tasks/{task['key']}/judge"
    early = await client.post(path)
    await finish(sessions, task, Verdict.FAILED, TaskStatus.REJECTED)
    answers = await asyncio.gather(*(client.post(path) for _ in range(10)))
    again = (await client.get(f"/v1/tasks/{task['id']}")).json()

    assert early.status_code == 409
    assert "under way" in early.json()["detail"]
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9
    assert again["run_id"] != task["run_id"]
    assert again["judgement"]["judgement"] == task["judgement"]["judgement"]
    earlier = [(run["id"], run["verdict"]) for run in again["earlier_judgements"]]
    assert earlier == [(task["judgement"]["id"], "failed")]
    assert len((await client.get("/v1/runs", params={"task": task["key"]})).json()["items"]) == 2


async def test_what_has_no_patch_or_is_over_is_not_judged_again(client, sessions, command, task):
    await end(sessions, command, to=RunState.LOST, status=TaskStatus.IN_PROGRESS)
    none = await client.post(f"/v1/tasks/{command['id']}/judge")
    await end(sessions, task)
    over = await client.post(f"/v1/tasks/{task['id']}/judge")

    assert (none.status_code, over.status_code) == (404, 409)
    assert "left none" in none.json()["detail"]


async def test_a_run_is_shown_with_its_sandboxes(client, sessions, task):
    await a_sandbox(sessions, task)
    run = (await client.get(f"/v1/runs/{task['run_id']}")).json()

    assert [(one["stage"], one["state"]) for one in run["sandboxes"]] == [("execute", "LAUNCHED")]
    assert [
        one["id"]
        for one in (await client.get("/v1/runs", params={"task": task["key"]})).json()["items"]
    ] == [run["id"]]


# --- health -------------------------------------------------------------------


async def test_readiness_names_the_part_that_is_not_fit(services, client, app):
    async def broken():
        raise RuntimeError("the engine does not answer; start it")

    assert (await client.get("/v1/health/ready")).json()["status"] == "ready"
    services.probes["docker"] = broken

    answer = await client.get("/v1/health/ready")

    assert answer.status_code == 503
    assert answer.json()["parts"]["docker"] == {
        "ok": False,
        "detail": "the engine does not answer; start it",
    }
    assert answer.json()["parts"]["database"]["ok"] is True

"""Every route of the operator API against what its own description allows, and does not (P17).

Requests are made from the OpenAPI document by `schemathesis`, the same ones every time. Answers
must fit it: no 5xx, and who sends what it does not allow is told which field is wrong.
"""

import asyncio
import contextlib
from uuid import uuid4

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as openapi

from control_plane.api.app import create_app
from control_plane.auth import service as auth
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.runs.moves import move_run
from control_plane.runs.rules import RunState
from control_plane.services import Services
from quality_gates.render.markdown import render

VALID, INVALID, STRANGER = 12, 12, 3
"""Requests for each operation: as described, not as described, and without a token."""
CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
]
NAMED = {"urn:vsc:problem:invalid", "urn:vsc:problem:body_refused"}


async def fit():
    return "fine"


@pytest.fixture
async def app(sessions, tmp_path):
    store, mirrors = DirectoryBlobs(tmp_path / "blobs"), Mirrors(tmp_path / "repos")
    return create_app(
        Services(
            sessions=sessions,
            mirrors=mirrors,
            snapshots=Snapshots(sessions, mirrors, LocalDepot(store), tmp_path / "snapshots"),
            blobs=ThreadedBlobs(store),
            pages={"md": render},
            probes={"database": fit},
            local_paths=False,
        )
    )


@pytest.fixture
async def token(sessions):
    async with sessions.begin() as session:
        return await auth.issue(session, f"fuzz-{uuid4()}")


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vsc") as client:
        yield client


@pytest.fixture
async def described(client, token):
    """The description as it is handed out; tokens have tests of their own."""
    headers = {"authorization": f"Bearer {token}"}
    document = (await client.get("/v1/openapi.json", headers=headers)).json()
    assert document.pop("security") == [{"token": []}]
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig())


@pytest.fixture
async def known(client, token, sessions, tmp_path):
    """One of each that a path may name."""
    headers = {"authorization": f"Bearer {token}"}
    post = lambda path, **body: client.post(f"/v1/{path}", headers=headers, **body)  # noqa: E731 -- one line is enough
    archive = (await post("blobs", content=an_archive(tmp_path))).json()["sha256"]
    source = {"kind": "archive", "sha256": archive}
    await post("repositories", json={"key": "known", "source": source})
    await post("projects", json={"key": "known", "name": "n", "client_name": "c"})
    await post("modules", json={"key": "known", "project": "known"})
    driver = {"kind": "command", "argv": ["true"]}
    task = await post("tasks", json={"repository": "known", "driver": driver})
    assert task.status_code == 202, task.text
    run = task.json()["run_id"]
    async with sessions.begin() as session:
        await move_run(session, run, RunState.CANCELLED, epoch=None)
    return {
        "repository": "known",
        "project": "known",
        "module": "known",
        "task": task.json()["key"],
        "run": run,
    }


def an_archive(folder):
    import io
    import tarfile

    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        file = tarfile.TarInfo("project/a.py")
        file.size = 6
        tar.addfile(file, io.BytesIO(b"a = 1\n"))
    return made.getvalue()


def operations(described):
    found = [result.ok() for result in described.get_all_operations()]
    assert len(found) > 20
    return found


class Fuzz:
    """Sends cases from a thread to the application, which lives in the test's own loop."""

    def __init__(self, client, headers) -> None:
        self._client, self._headers = client, headers
        self._loop, self.asked = asyncio.get_running_loop(), 0

    def send(self, case):
        made = requests.Request(**case.as_transport_kwargs("http://vsc")).prepare()
        given = {k: v for k, v in made.headers.items() if k.lower() != "authorization"}
        request = self._client.build_request(
            made.method, made.url, headers={**given, **self._headers}, content=made.body
        )
        self.asked += 1
        return asyncio.run_coroutine_threadsafe(self._client.send(request), self._loop).result(60)

    async def each(self, operation, mode, examples, look):
        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), named=st.booleans())
        def every(case, named):
            look(case, named)

        await asyncio.to_thread(every)


def tamed(case):
    """What would only wait, or ask a server that is not ours."""
    if isinstance(case.query, dict):
        case.query.pop("wait_s", None)
    source = case.body.get("source") if isinstance(case.body, dict) else None
    if isinstance(source, dict) and source.get("kind") == "https":
        source["url"] = "https://[::1]/"
    return case


async def test_what_the_description_allows_is_answered_as_it_says(client, token, described, known):
    fuzz = Fuzz(client, {"authorization": f"Bearer {token}"})

    def look(case, named):
        if named:
            case.path_parameters = {k: known[k] for k in case.path_parameters or {}}
        answer = fuzz.send(tamed(case))
        case.validate_response(answer, checks=CHECKS)

    for operation in operations(described):
        await fuzz.each(operation, GenerationMode.POSITIVE, VALID, look)
    assert fuzz.asked > 200


async def test_what_it_does_not_allow_is_refused_and_the_field_is_named(client, token, described):
    fuzz = Fuzz(client, {"authorization": f"Bearer {token}"})

    def look(case, named):
        answer = fuzz.send(tamed(case))
        refused = [] if answer.status_code == 413 else [openapi.negative_data_rejection]
        case.validate_response(answer, checks=[*CHECKS, *refused])
        told = answer.json() if answer.status_code in (400, 422) else {}
        if told.get("type") in NAMED:
            assert all(one["message"] for one in told["errors"])

    for operation in operations(described):
        with contextlib.suppress(Unsatisfiable):  # there is nothing to get wrong
            await fuzz.each(operation, GenerationMode.NEGATIVE, INVALID, look)
    assert fuzz.asked > 200


async def test_a_field_and_a_parameter_that_no_route_knows_are_named(client, token, described):
    headers = {"authorization": f"Bearer {token}"}
    bodies = 0
    for operation in operations(described):
        path = operation.path.replace("{run}", str(uuid4())).replace("{", "").replace("}", "")
        if not path.startswith("/v1/health/live"):
            told = await client.request(
                operation.method, f"{path}?no_such_field=1", headers=headers,
                json={} if operation.body else None,
            )  # fmt: skip
            assert told.status_code == 422, (path, told.text)
            assert [one["path"] for one in told.json()["errors"]] == ["no_such_field"]
        if operation.body:
            told = await client.request(
                operation.method, path, headers=headers, json={"no_such_field": 1}
            )
            bodies += 1
            assert told.status_code == 422, (path, told.text)
            assert "no_such_field" in [one["path"] for one in told.json()["errors"]]
    assert bodies >= 5


async def test_a_stranger_is_told_nothing_but_how_to_come_in(client, described):
    fuzz = Fuzz(client, {})

    def look(case, named):
        answer = fuzz.send(tamed(case))
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:vsc:problem:unauthenticated"
        case.validate_response(answer, checks=CHECKS)

    for operation in operations(described):
        if operation.path == "/v1/health/live":
            assert (await client.get(operation.path)).status_code == 200
            continue
        await fuzz.each(operation, GenerationMode.POSITIVE, STRANGER, look)
    assert fuzz.asked > 50

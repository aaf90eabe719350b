"""Every route of the operator API against unhoped-for values: never a 5xx (faults.md P17)."""

import random

import httpx
import pytest

from control_plane.api.app import create_app
from control_plane.auth import service as auth
from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.threads import ThreadedBlobs
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshots import Snapshots
from control_plane.services import Services
from quality_gates.render.markdown import render

SEED = 20261123
VALUES = [
    None, True, -1, 0, 2**63, 1.5, "", "x", "a" * 5000, "\u0000", "ﷺ", "'; DROP TABLE tasks; --",
    "../../etc/passwd", [], {}, [[[]]], {"kind": "patch"}, {"kind": "path", "path": "/"},
    {"kind": "https", "url": "https://[::1]/"}, {"": ""}, ["a"] * 300,
]  # fmt: skip
TEXTS = [
    "",
    "x",
    "%00",
    "%ff",
    "..%2f..",
    "00000000-0000-0000-0000-000000000000",
    "a" * 3000,
    "%27--",
    "nan",
    "-1",
    "1e999",
    "%F0%9F%92%A9",
]


@pytest.fixture
async def app(sessions, tmp_path):
    store, mirrors = DirectoryBlobs(tmp_path / "blobs"), Mirrors(tmp_path / "repos")
    return create_app(
        Services(
            sessions=sessions,
            mirrors=mirrors,
            snapshots=Snapshots(sessions, mirrors, LocalDepot(store), tmp_path / "snapshots"),
            blobs=ThreadedBlobs(store),
            markdown=render,
            local_paths=False,
        )
    )


async def test_no_route_answers_with_a_fault_of_its_own(app, sessions):
    chance = random.Random(SEED)  # noqa: S311 -- the same requests every time
    async with sessions.begin() as session:
        token = await auth.issue(session, "fuzz")
    schema, faults, asked = app.openapi(), [], 0
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://vsc", headers=headers
    ) as client:
        for path, verbs in schema["paths"].items():
            for verb, operation in verbs.items():
                for _ in range(12):
                    url = _filled(path, operation, chance)
                    answer = await client.request(verb, url, **_body(schema, operation, chance))
                    asked += 1
                    if answer.status_code >= 500 and path != "/v1/health/ready":
                        faults.append((verb, url[:200], answer.status_code))
    assert faults == []
    assert asked > 200


def _filled(path, operation, chance):
    query = []
    for parameter in operation.get("parameters", []):
        text = chance.choice(TEXTS)
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", text or "x")
        elif parameter["in"] == "query" and parameter["name"] != "wait_s" and chance.random() < 0.5:
            query.append(f"{parameter['name']}={text}")
    return path + ("?" + "&".join(query) if query else "")


def _body(schema, operation, chance):
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return {}
    model = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    body = {name: chance.choice(VALUES) for name in model["properties"] if chance.random() < 0.8}
    return {"json": body if chance.random() < 0.9 else chance.choice(VALUES)}

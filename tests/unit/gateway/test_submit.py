"""`POST /submit`, over the real socket."""

import hashlib
import json

import httpx
import pytest
from door_kit import (
    MemoryAudit,
    MemoryCapsules,
    MemoryChunks,
    MemorySubmissions,
    access,
    directory,
)

from control_plane.gateway.access import access_of
from control_plane.gateway.caps import DoorCaps
from control_plane.gateway.door import Doors
from control_plane.gateway.grants import GRANTS, Verb, granted
from control_plane.runs.models import Sandbox
from control_plane.sessions.documents import DOCUMENT
from runners import protocol
from sandboxes.documents import spec_to_json
from sandboxes.spec import Input, Limits, Output, SandboxSpec

SCHEMA = {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}}
GOOD = b'{"title": "a plan"}'


class House:
    def __init__(self, stage):
        self.taken, self.place = MemorySubmissions(SCHEMA), directory()
        self.doors = Doors(
            *(MemoryChunks(), MemoryCapsules(), MemoryAudit(), DoorCaps()), submissions=self.taken
        )
        self.access = access(stage)

    async def post(self, content):
        await self.doors.open("vsc-1", self.place, self.access)
        transport = httpx.AsyncHTTPTransport(uds=str(self.place.http))
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.post("/submit", content=content)


@pytest.fixture
async def house(request):
    house = House(getattr(request, "param", "execute"))
    yield house
    await house.doors.close_all()


async def test_a_valid_document_is_answered_with_its_hash_and_a_second_one_replaces_it(house):
    first, second = await house.post(GOOD), await house.post(b'{"title": "a better plan"}')

    assert (first.status_code, first.json()) == (200, {"sha256": hashlib.sha256(GOOD).hexdigest()})
    assert house.taken.so_far.document_sha256 == second.json()["sha256"]


async def test_an_invalid_one_is_told_each_path_and_the_third_is_the_last(house):
    answers = [await house.post(json.dumps({"title": n}).encode()) for n in range(3)]
    after = await house.post(GOOD)

    assert [answer.status_code for answer in answers] == [422] * 3
    assert [answer.json()["tries_left"] for answer in answers] == [2, 1, 0]
    assert answers[0].json()["errors"] == [
        {"path": "$.title", "message": "0 is not of type 'string'"}
    ]
    assert "that was the last try" in answers[2].json()["error"]
    assert after.status_code == 409
    assert "3 invalid documents" in after.json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"[" * 100_000, b'{"title": "\\ud800"}', b"9" * 100_000, b"\xff", b"NaN"]
)
async def test_hostile_json_is_a_try_like_any_other(house, body):
    answer = await house.post(body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"].startswith("$")


async def test_a_body_above_the_cap_is_no_try(house):
    assert (await house.post(b" " * (2**20 + 1))).status_code == 413
    assert house.taken.so_far.tries_left == 3


async def test_after_the_end_nothing_is_taken(house):
    house.taken.ended = True

    assert (await house.post(GOOD)).status_code == 410


@pytest.mark.parametrize("house", sorted(set(GRANTS) - {"execute"}), indirect=True)
async def test_no_other_stage_submits(house):
    answer = await house.post(GOOD)

    assert answer.status_code == 403
    assert house.taken.so_far.document_sha256 is None


@pytest.mark.parametrize(("outputs", "submits"), [((), False), ((Output(DOCUMENT, 1),), True)])
def test_the_verb_follows_from_the_row_a_session_without_a_schema_has_none(outputs, submits):
    spec = SandboxSpec(
        *("vsc-1", "image", protocol.COMMAND, Limits(deadline_s=1)),
        inputs=(Input(protocol.CAPSULE, "0" * 64),),
        outputs=outputs,
        door=True,
    )
    row = Sandbox(stage="execute", spec=spec_to_json(spec))

    assert (Verb.SUBMIT in access_of(row).verbs) == submits
    row.stage = "head"
    assert Verb.SUBMIT not in access_of(row).verbs


def test_a_stage_that_is_not_asked_for_a_document_is_not_granted_it():
    assert Verb.SUBMIT not in granted("execute", ())
    assert Verb.SUBMIT not in granted("prepare", (), document=True)

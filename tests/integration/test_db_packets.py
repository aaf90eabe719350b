"""Packets are stored once and never edited."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from control_plane.packets.canonical import packet_sha256
from control_plane.packets.errors import PacketTaken
from control_plane.packets.parse import validate_packet
from control_plane.packets.service import store_packet

DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "spec-4.3-packet.json").read_bytes()
)


def packet(**changes):
    return validate_packet({**DOCUMENT, **changes})


async def test_a_packet_comes_back_with_the_hash_it_went_in_with(session):
    row = await store_packet(session, packet())
    await session.refresh(row)

    assert row.document == DOCUMENT
    assert row.sha256 == packet_sha256(row.document)
    assert row.key == "ctx_849201"


async def test_storing_the_same_packet_twice_finds_the_first(session):
    first = await store_packet(session, packet())
    assert (await store_packet(session, packet())).id == first.id


async def test_a_changed_packet_needs_an_id_of_its_own_and_names_its_parent(session):
    parent = await store_packet(session, packet())
    with pytest.raises(PacketTaken, match="packet_id of its own"):
        await store_packet(session, packet(trace_id="trace_other"))

    child = await store_packet(
        session, packet(packet_id="ctx_2", trace_id="trace_other"), parent_id=parent.id
    )

    assert child.parent_id == parent.id
    with pytest.raises(PacketTaken):
        await store_packet(session, packet(packet_id="ctx_2", trace_id="trace_other"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE packets SET document = jsonb_set(document, '{trace_id}', '\"other\"')",
        "UPDATE packets SET sha256 = repeat('0', 64)",
        "UPDATE packets SET parent_id = NULL",
        "DELETE FROM packets",
        "TRUNCATE packets CASCADE",
    ],
)
async def test_the_database_itself_refuses_to_change_a_packet(session, statement):
    await store_packet(session, packet())
    with pytest.raises(DBAPIError, match="never changed or removed"):
        await session.execute(text(statement))

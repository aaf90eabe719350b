"""Keeping packets.

A stored packet is never edited: a change is a new packet with the old one as its parent.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.base import new_id
from control_plane.packets.canonical import packet_sha256
from control_plane.packets.errors import PacketTaken
from control_plane.packets.models import Packet
from control_plane.packets.schema import ContextPacket


async def store_packet(
    session: AsyncSession, packet: ContextPacket, *, parent_id: UUID | None = None
) -> Packet:
    """The row of `packet`; storing the same packet again finds the first row.

    Raises:
        PacketTaken: another document, or another parent, already has this `packet_id`.
    """
    document = packet.document()
    sha256 = packet_sha256(document)
    new = insert(Packet).values(
        id=new_id(), key=packet.packet_id, sha256=sha256, document=document, parent_id=parent_id
    )
    await session.execute(new.on_conflict_do_nothing(index_elements=[Packet.key]))
    row = (await session.scalars(select(Packet).where(Packet.key == packet.packet_id))).one()
    if (row.sha256, row.parent_id) != (sha256, parent_id):
        raise PacketTaken(packet.packet_id, row.sha256)
    return row

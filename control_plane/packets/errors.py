"""What is wrong with a packet: always with the path, so that the sender can mend it."""

from collections.abc import Sequence


class PacketInvalid(ValueError):
    """The bytes are not a ContextPacket.

    `errors` holds (path, message); the path is like `task_definition.priority`.
    """

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__(
            "the packet is invalid: "
            + "; ".join(f"{path or '(document)'}: {text}" for path, text in errors)
        )
        self.errors = tuple(errors)


class PacketTaken(Exception):
    """Another packet has this `packet_id`.

    Packets are never edited: send the change under an id of its own.
    """

    def __init__(self, packet_id: str, stored_sha256: str) -> None:
        super().__init__(
            f"packet {packet_id} is already stored with other content (sha256 {stored_sha256}):"
            " packets are never edited, give the change a packet_id of its own"
        )
        self.packet_id = packet_id

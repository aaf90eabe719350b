"""What is wrong with a packet: always with the path, so that the sender can mend it."""

from collections.abc import Sequence


class PacketInvalid(ValueError):
    """The bytes are not a ContextPacket. `errors` holds (path, message); the path is like `task_definition.priority`."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__(
            "the packet is invalid: " + "; ".join(f"{path or '(document)'}: {text}" for path, text in errors)
        )
        self.errors = tuple(errors)

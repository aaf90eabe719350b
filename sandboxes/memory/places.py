"""Where a sandbox of the in-memory engine lies, and what its paths are called inside.

`<home>/s/<name>/` holds everything that carries the name. Inside, `/workspace` means
`<home>/s/<name>/workspace`, and so on: there are no mounts, so the names are replaced in arguments,
environment and inputs, and put back in outputs. An image is a folder that `/opt/vsc` means.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sandboxes.doors import DoorDirectory

HOME_CHARACTERS = 24
"""A socket's path has at most 107 characters, and one in a door's place has 83 below the home."""

_ARCHIVE = b"PK\x03\x04"
_IMAGE = "opt/vsc"
_INSIDE = re.compile(rf"(?<![\w./-])/(workspace|out|vsc|env|tmp|run/vsc|{_IMAGE})(?![\w.-])")


@dataclass(frozen=True, slots=True)
class Place:
    """One sandbox's directory."""

    root: Path

    @property
    def name(self) -> str:
        """The sandbox's name."""
        return self.root.name

    @property
    def workspace(self) -> Path:
        """`/workspace`."""
        return self.root / "workspace"

    @property
    def out(self) -> Path:
        """`/out`."""
        return self.root / "out"

    @property
    def inputs(self) -> Path:
        """`/vsc`."""
        return self.root / "vsc"

    @property
    def environment(self) -> Path:
        """`/env`."""
        return self.root / "env"

    @property
    def tmp(self) -> Path:
        """`/tmp`."""
        return self.root / "tmp"

    @property
    def door(self) -> DoorDirectory:
        """`/run/vsc`; the code inside runs as we do."""
        return DoorDirectory(self.root / "run" / "vsc")

    @property
    def collected(self) -> Path:
        """Where the collector writes."""
        return self.root / "collected"

    @property
    def record(self) -> Path:
        """What the engine and the keeper write down."""
        return self.root / "record"


def place(home: Path, name: str) -> Place:
    """The directory of that sandbox; it need not exist."""
    return Place(home / "s" / name)


class Names:
    """The paths of one sandbox, from inside to outside and back."""

    def __init__(self, place: Place, image: Path) -> None:
        self._root, self._image = str(place.root), str(image)

    def outward(self, text: str) -> str:
        """The text with every path of the sandbox as this machine knows it."""
        return _INSIDE.sub(self._place_of, text)

    def in_input(self, path: PurePosixPath, content: bytes) -> bytes:
        """An input as it is written: texts name our places, archives and patches do not."""
        if path.suffix == ".patch" or content.startswith(_ARCHIVE):
            return content
        try:
            return self.outward(content.decode()).encode()
        except UnicodeDecodeError:
            return content

    def inward(self, content: bytes) -> bytes:
        """The output with every place under its name inside; what is no text stays as it is."""
        if b"\0" in content:
            return content
        content = content.replace(self._image.encode(), f"/{_IMAGE}".encode())
        return content.replace(self._root.encode(), b"")

    def _place_of(self, found: re.Match[str]) -> str:
        return self._image if found[1] == _IMAGE else f"{self._root}/{found[1]}"

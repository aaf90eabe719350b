"""Where a sandbox of the in-memory engine lies on this machine, and what its paths are called inside.

`<home>/s/<name>/` holds everything that carries the name. Inside, `/workspace` means
`<home>/s/<name>/workspace`: there are no mounts, so the names are replaced in arguments,
environment and inputs, and put back in outputs.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sandboxes.doors import DoorDirectory

HOME_CHARACTERS = 30
"""A socket's path has at most 107 characters, and a door's place has 77 below the home."""

_ARCHIVE = b"PK\x03\x04"
_INSIDE = re.compile(r"(?<![\w./-])/(workspace|out|vsc|env|tmp|run/vsc|opt/vsc)(?![\w.-])")


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
        return DoorDirectory(self.root / "door")

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
        self._outside = {
            "workspace": place.workspace,
            "out": place.out,
            "vsc": place.inputs,
            "env": place.environment,
            "tmp": place.tmp,
            "run/vsc": place.door.path,
            "opt/vsc": image,
        }

    def outward(self, text: str) -> str:
        """The text with every path of the sandbox as this machine knows it."""
        return _INSIDE.sub(lambda found: str(self._outside[found[1]]), text)

    def in_input(self, path: PurePosixPath, content: bytes) -> bytes:
        """An input as it is written: texts name places of this machine; archives and patches do not."""
        if path.suffix == ".patch" or content.startswith(_ARCHIVE):
            return content
        try:
            return self.outward(content.decode()).encode()
        except UnicodeDecodeError:
            return content

    def inward(self, content: bytes) -> bytes:
        """The bytes with every place of this sandbox under its name inside."""
        for name, path in self._outside.items():
            content = content.replace(bytes(path), f"/{name}".encode())
        return content

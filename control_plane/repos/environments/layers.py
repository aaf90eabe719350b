"""What a `prepare` sandbox left becomes the layers of an environment: read as data, never unpacked.

The bytes are hostile. Each layer is checked entry by entry while it is packed into a blob; only if
all of them can be one tree, the environment is taken.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, BinaryIO, cast

from control_plane.repos.names import link_refusal, refusal, shown
from quality_gates.where import ENV, MADE
from runners.archive import DIRECTORY, FILE, LINK, Caps, Member, Source, directories_above, members
from sandboxes.packed import packing
from sandboxes.ports import Depot

_METADATA = re.compile(
    rb"lib/python3[^/]*/site-packages/[^/]+\.dist-info/(METADATA|entry_points\.txt)"
)
_METADATA_BYTES = 4 * 2**20
_MADE = MADE.removeprefix(f"{ENV}/").encode() + b"/"
_FOLLOWED = 40
"""Links that a kernel follows on one way; what needs more leads nowhere."""


class EnvironmentRefused(Exception):
    """The layers hold what an environment must not.

    Change the set-up commands so that they do not make it.
    """


@dataclass(frozen=True, slots=True)
class EnvironmentLimits:
    """Caps on one environment."""

    layers: int = 5_000
    entries: int = 400_000
    total_bytes: int = 8 * 2**30


DEFAULT_LIMITS = EnvironmentLimits()


@dataclass(frozen=True, slots=True)
class Layers:
    """An environment in the depot."""

    blobs: tuple[str, ...]
    metadata: Mapping[str, bytes]
    """What distributions say of themselves: the path of a METADATA or entry_points.txt -> bytes."""
    made: tuple[str, ...] = ()
    """What the build wrote into the workspace, as paths there."""

    @property
    def sha256(self) -> str:
        """The environment's identity: the same layers in the same order, and nothing else."""
        return hashlib.sha256(json.dumps(self.blobs).encode()).hexdigest()


def take_layers(
    source: BinaryIO, depot: Depot, limits: EnvironmentLimits = DEFAULT_LIMITS
) -> Layers:
    """Put each layer into the depot, packed. Blocking.

    Raises EnvironmentRefused: nothing of it is to be used.
    """
    tree, blobs = _Tree(limits), []
    try:
        for layer in members(source, Caps(limits.layers, limits.total_bytes)):
            if layer.mode != FILE:
                raise EnvironmentRefused(f"{shown(layer.path)}: not a layer")
            with tempfile.TemporaryFile() as file:
                with packing(cast("IO[bytes]", file)) as packer:
                    tree.take(_Tee(layer, packer))
                file.seek(0)
                blobs.append(depot.put(file, limits.total_bytes).sha256)
    except ValueError as error:
        raise EnvironmentRefused(f"the layers cannot be read: {error}") from error
    tree.check()
    return Layers(tuple(blobs), tree.metadata, tree.made())


class _Tee:
    """A layer that is read; what was read has been packed."""

    def __init__(self, layer: Member, packer: BinaryIO) -> None:
        self._layer, self._packer = layer, packer

    def read(self, size: int, /) -> bytes:
        data = self._layer.read(size)
        self._packer.write(data)
        return data


@dataclass(slots=True)
class _Tree:
    """What the layers make together."""

    limits: EnvironmentLimits
    metadata: dict[str, bytes] = field(default_factory=dict)
    _links: dict[bytes, bytes] = field(default_factory=dict)
    _files: set[bytes] = field(default_factory=set)
    _directories: set[bytes] = field(default_factory=set)
    _left: int = 0

    def __post_init__(self) -> None:
        self._left = self.limits.entries

    def take(self, layer: Source) -> None:
        for entry in members(layer, Caps(self._left, self.limits.total_bytes)):
            self._left -= 1
            if reason := self._refusal(entry):
                raise EnvironmentRefused(f"{shown(entry.path)}: {reason}")
            if _METADATA.fullmatch(entry.path) and entry.size <= _METADATA_BYTES:
                self._keep(entry)

    def _refusal(self, entry: Member) -> str | None:
        if reason := refusal(entry.path):
            return reason
        self._directories.update(directories_above(entry.path))
        if entry.mode == DIRECTORY:
            self._directories.add(entry.path)
            return None
        if entry.mode is None:
            return "a deletion, which no layer holds"
        if entry.path in self._files:
            return "in two layers"
        self._files.add(entry.path)
        if entry.mode == LINK:
            self._links[entry.path] = entry.read()
            return link_refusal(entry.path, self._links[entry.path])
        return None

    def _keep(self, entry: Member) -> None:
        if entry.mode not in (LINK, DIRECTORY):
            self.metadata[entry.path.decode(errors="surrogateescape")] = entry.read()

    def made(self) -> tuple[str, ...]:
        """Paths of the workspace that the environment carries."""
        return tuple(
            sorted(
                path.removeprefix(_MADE).decode(errors="surrogateescape")
                for path in self._files
                if path.startswith(_MADE)
            )
        )

    def check(self) -> None:
        """What is known only when all of it is: that it can be one tree, and nothing leads out."""
        if both := next(iter(self._files & self._directories), None):
            raise EnvironmentRefused(f"{shown(both)}: a file or link, and a directory")
        for link in self._links:
            if leads_out(link, self._links):
                raise EnvironmentRefused(f"{shown(link)}: leads out through another link")


def leads_out(path: bytes, links: Mapping[bytes, bytes]) -> bool:
    """Whether the way along `path`, links followed, leaves the tree that `links` lie in. Pure."""
    ahead, followed = path.split(b"/")[::-1], 0
    at: list[bytes] = []
    while ahead:
        name = ahead.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            if not at:
                return True
            at.pop()
            continue
        at.append(name)
        target = links.get(b"/".join(at))
        if target is not None:
            followed += 1
            if followed > _FOLLOWED:
                return False
            at.pop()
            ahead += target.split(b"/")[::-1]
    return False

"""What every test of sandboxes starts from.

A depot with a real tree, a collector that tells what changed, specs by one call.
"""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.directory import DirectoryBlobs
from runners.archive import Entry, write_archive
from runners.unpack import unpack
from sandboxes.errors import ProviderUnavailable
from sandboxes.names import SandboxName
from sandboxes.packed import packed
from sandboxes.ports import Start
from sandboxes.spec import (
    Against,
    Artifact,
    Input,
    Limits,
    Output,
    SandboxSpec,
    Workspace,
)
from sandboxes.tree_cache import TreeCache

UID = 10001
PYTHON = "/opt/vsc/bin/python"
BASE = {
    "readme.md": b"hello\n",
    "src/app.py": b"print('app')\n",
    "src/old/one.py": b"1\n",
    "src/old/deep/two.py": b"2\n",
    "src/link": "app.py",
    "tool.sh": b"#!/bin/sh\n",
}


def archive(files: dict) -> bytes:
    """A packed archive of files (bytes) and links (text)."""
    entries = [
        Entry(os.fsencode(name), "120000", content.encode())
        if isinstance(content, str)
        else Entry(os.fsencode(name), "100644", content)
        for name, content in files.items()
    ]
    into = io.BytesIO()
    write_archive(entries, into)
    return packed(into.getvalue())


def state_of(tree: Path) -> dict[str, list]:
    """Every file and link with kind, mode and content.

    Directories are not listed, as git does not.
    """
    found = {}
    for directory, folders, files in os.walk(tree):
        for name in [*files, *(one for one in folders if (Path(directory) / one).is_symlink())]:
            path = Path(directory) / name
            if path.is_symlink():
                kind = ["link", path.readlink().as_posix()]
            else:
                digest = (
                    hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "special"
                )
                kind = [oct(path.stat().st_mode & 0o777), digest]
            found[path.relative_to(tree).as_posix()] = kind
    return found


@dataclass
class Collected:
    """A collector that compares the tree with its base, but only where `changed` says."""

    calls: list = field(default_factory=list)
    failure: Exception | None = None
    cut_off: bool = False
    """The next call ends when it has written half."""

    def __call__(
        self, start: Start, tree: Path, changed: Collection[bytes] | None, into: Path
    ) -> None:
        self.calls.append((start, changed))
        if self.failure:
            raise self.failure
        before, after = state_of(start.base), state_of(tree)
        names = (
            {os.fsdecode(path) for path in changed} if changed is not None else {*before, *after}
        )
        differs = {
            name: after.get(name) for name in sorted(names) if before.get(name) != after.get(name)
        }
        if start.delta is not None and start.against is Against.START:
            for name in json.loads(start.delta.read()):
                differs.pop(name, None)
        with (into / "changes.json").open("x") as file:  # as the real one does
            file.write(json.dumps(differs))
        if self.cut_off:
            self.cut_off = False
            raise ProviderUnavailable("cut off")


def apply_delta(delta: BinaryIO, tree: Path, owner: int) -> None:
    """A delta is a JSON object here: path -> text, or null for a deletion."""
    for name, content in json.loads(delta.read()).items():
        path = tree / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            os.chown(path, owner, owner)


@dataclass
class Kit:
    """A depot, a collector and a way to specs, for one installation."""

    root: Path
    image: str
    install: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    def __post_init__(self) -> None:
        self.store = DirectoryBlobs(self.root / "blobs")
        self.depot = LocalDepot(self.store)
        self.collected = Collected()
        self.base = self.blob(archive(BASE))
        self.environment = (self.blob(archive({"lib/mod.py": b"X = 1\n"})),)

    def trees(self, home: Path, max_bytes: int = 2**30) -> TreeCache:
        """A cache as a provider over `home` has it."""
        return TreeCache(home / "trees", self.depot, unpack, max_bytes)

    def delta(self, changes: dict) -> str:
        """The blob of a delta in the form that `apply_delta` takes here."""
        return self.blob(packed(json.dumps(changes).encode()))

    def blob(self, content: bytes) -> str:
        return self.depot.put(io.BytesIO(content), len(content)).sha256

    def read(self, artifact: Artifact) -> bytes:
        with self.depot.open(artifact.sha256) as source:
            return source.read()

    def changes(self, outcome) -> dict:
        return json.loads(self.read(outcome.collected["changes.json"]))

    def input(self, path: str, content: bytes) -> Input:
        return Input(path, self.blob(content))

    def spec(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        outputs=("out.txt",),
        workspace="base",
        **more,
    ):
        """A spec that runs Python `code`."""
        if workspace == "base":
            workspace = Workspace(base=self.base, against=Against.BASE)
        return SandboxSpec(
            name=more.pop("name", str(SandboxName(self.install, uuid.uuid4(), "head"))),
            image=more.pop("image", self.image),
            command=(PYTHON, "-I", "-c", code),
            limits=limits
            or Limits(
                deadline_s=60,
                memory_bytes=256 * 2**20,
                pids=64,
                disk_bytes=64 * 2**20,
                disk_files=5000,
            ),
            outputs=tuple(
                Output(name, 1000) if isinstance(name, str) else name for name in outputs
            ),
            workspace=workspace,
            **more,
        )

"""The ports of the sandbox world: a provider of sandboxes, a depot of bytes, and three hooks.

The composition root injects the hooks.
"""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sandboxes.doors import DoorDirectory
from sandboxes.spec import (
    Against,
    Artifact,
    SandboxId,
    SandboxOutcome,
    SandboxSpec,
    SandboxSummary,
)


class SandboxProvider(Protocol):
    """An engine that runs a command to completion in an isolated place."""

    async def launch(self, spec: SandboxSpec) -> SandboxId:
        """Start the sandbox that `spec` names, or find the one already started under that name.

        Idempotent by name: a sandbox of the same name and fingerprint is adopted, one that was
        created and never started is started, and one that has run is never run again.

        Raises:
            SandboxStartFailed: the engine refuses the spec as written (`ImageMissing`,
                `NameTaken`...); do not retry.
            ProviderUnavailable: the engine did not answer; nothing is known about the sandbox;
                retry later.
        """

    async def wait(self, sandbox: SandboxId) -> SandboxOutcome:
        """Wait for the end, take the outputs, collect the workspace, and say how it ended.

        May be called again: same answer.

        When it returns, no process of the sandbox lives. A sandbox that the engine has forgotten is
        `Ended.LOST`.

        Raises:
            ProviderUnavailable: the engine did not answer; the sandbox may still run.
        """

    async def terminate(self, sandbox: SandboxId, grace_s: float) -> None:
        """Ask it to stop, and kill it after `grace_s` seconds.

        Its remains can still be collected by `wait`.
        """

    async def destroy(self, sandbox: SandboxId) -> None:
        """Remove the sandbox and everything that carries its name. Twice is harmless."""

    def owned(self) -> AsyncIterator[SandboxSummary]:
        """Every sandbox of this installation that the engine knows, running or not.

        Never another installation's.
        """

    def door(self, name: str) -> DoorDirectory:
        """Where the sandbox of that name has its door; nothing is made, and no engine is asked."""


class Depot(Protocol):
    """Where sandboxes get bytes and leave them.

    Blocking; an adapter calls it from its own threads. Raises DepotUnavailable when it does not
    answer.
    """

    def open(self, sha256: str) -> BinaryIO:
        """The bytes of a blob, checked while they are read. Raises BlobMissing."""

    def put(self, source: BinaryIO, max_bytes: int) -> Artifact:
        """Keep the bytes, whole or not at all. Raises TooLarge past `max_bytes`."""


class Unpack(Protocol):
    """Makes a directory of an archive. Trusted code; the archive is hostile."""

    def __call__(self, archive: BinaryIO, into: Path, owner: int, /) -> int:
        """Fill `into`, which is empty; all of it then belongs to user and group `owner`.

        Says about how many bytes it takes on disk. Raises ValueError on a malformed archive.
        """


@dataclass(frozen=True, slots=True)
class Start:
    """What a workspace was made of, as its collector gets it: bytes, and no repository."""

    base: Path
    """The unpacked snapshot, with its one-commit `.git`; never written."""
    delta: BinaryIO | None
    """What was applied to it before the start."""
    against: Against


class Collect(Protocol):
    """What is made of a dead sandbox's workspace. Trusted code; the tree is hostile."""

    def __call__(
        self, start: Start, tree: Path, changed: Collection[bytes] | None, into: Path
    ) -> None:
        """Write what is wanted of `tree`, which was made of `start`, as files in `into`.

        `changed` holds the relative paths that can differ from the workspace's base, parents of
        deleted ones included (an overlay's upper directory); None: nobody knows, look at
        everything.
        """


class ApplyDelta(Protocol):
    """Turns a workspace's base into the tree wanted, before the sandbox starts."""

    def __call__(self, delta: BinaryIO, tree: Path, owner: int) -> None:
        """Apply `delta` to `tree`; new files belong to user and group `owner`.

        Raises ValueError on a malformed delta.
        """

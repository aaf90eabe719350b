"""The ports of the sandbox world: a provider of sandboxes, a depot of bytes, two injected hooks."""

from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import BinaryIO, Protocol

from sandboxes.doors import DoorDirectory
from sandboxes.spec import Artifact, SandboxId, SandboxOutcome, SandboxSpec, SandboxSummary


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

    def tree(self, key: str) -> Path:
        """The read-only directory of a shared tree (a base snapshot, an environment).

        Raises BlobMissing.
        """


class Collect(Protocol):
    """What is made of a dead sandbox's workspace. Trusted code; the tree is hostile."""

    def __call__(
        self, against: str, tree: Path, changed: Collection[bytes] | None, into: Path
    ) -> None:
        """Write what is wanted of `tree` as files in `into`.

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

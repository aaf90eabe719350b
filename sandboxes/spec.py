"""What a sandbox is made of and how it ended: values only, in no engine's words."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from sandboxes.inside import WORKSPACE

SandboxId = NewType("SandboxId", str)
"""The engine's own name for one sandbox (a container id, a Job's UID).

Never reused, so acting on it fences.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandbox may use. Every field is a hard cap; there is no "unlimited"."""

    deadline_s: float
    """Seconds the driver may run, counted by the runner from the driver's start."""
    cpus: float = 2.0
    memory_bytes: int = 2 * 2**30
    pids: int = 256
    disk_bytes: int = 2 * 2**30
    """Bytes that the workspace's changes and the outputs may take together."""
    disk_files: int = 200_000
    tmp_bytes: int = 512 * 2**20
    hydrate_s: float = 60.0
    """Seconds from the sandbox's start to the driver's."""
    grace_s: float = 10.0
    """Seconds in which PID 1 ends the driver's processes and says how it ended."""
    upload_s: float = 20.0
    """Seconds in which PID 1 hands on what the log still holds."""

    @property
    def backstop_s(self) -> float:
        """Seconds after the start at which the provider ends what PID 1 did not.

        It counts from the sandbox's own start: no time that it was pending is in it. Nor is the
        time in which a provider takes what a dead one left.
        """
        return self.hydrate_s + self.deadline_s + self.grace_s + self.upload_s


@dataclass(frozen=True, slots=True)
class Input:
    """A blob that lies read-only at `path`, under `/vsc`, before the command starts."""

    path: str
    sha256: str


class Against(StrEnum):
    """What the remains of a workspace are compared with."""

    BASE = "base"
    """The snapshot: a delta that was applied before the start counts as changed."""
    START = "start"
    """The tree that the sandbox started from."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The repository: a snapshot, a delta over it, and what its remains are compared with.

    `base` and `delta` are blobs: packed archives (`sandboxes.packed`). Without a delta the tree is
    the snapshot. `against` is handed to the injected collector when the sandbox is dead; None means
    that nobody wants the remains.
    """

    base: str
    delta: str | None = None
    against: Against | None = None
    path: str = WORKSPACE


@dataclass(frozen=True, slots=True)
class Output:
    """A file that the command may leave in `/out`.

    Larger than `max_bytes`, or not a plain file: refused, with the reason.
    """

    name: str
    max_bytes: int


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One command in one isolated place. Two specs with one fingerprint are one sandbox."""

    name: str
    """`sandboxes.names.SandboxName` as text; labels, mounts and directories carry it too."""
    image: str
    """A name and the hash of the image's inputs (`python@...`), which the provider resolves.

    Or an engine's own id (`sha256:...`). Never a tag that can move.
    """
    command: tuple[str, ...]
    limits: Limits
    environ: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    workspace: Workspace | None = None
    environment: tuple[str, ...] = ()
    """Packed archives, one a layer, which together lie read-only at `/env`; none: no `/env`."""
    outputs: tuple[Output, ...] = ()
    door: bool = False
    """Whether the sandbox has its socket at `/run/vsc/door.sock`."""
    egress: tuple[str, ...] = ()
    """`host:port` that whoever serves the door lets through.

    No provider opens any other way out.
    """
    runtime_class: str | None = None

    def fingerprint(self) -> str:
        """sha256 of every field.

        A sandbox of the same name and another fingerprint is never adopted.
        """
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class Ended(StrEnum):
    """How a sandbox ended, as the provider saw it. A non-zero exit code is still `completed`."""

    COMPLETED = "completed"
    OOM = "oom"
    DEADLINE = "deadline"
    TERMINATED = "terminated"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    IMAGE_MISSING = "image_missing"
    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes that a sandbox left, whole and in the depot."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the sandbox took. None: the engine could not say, which is not zero."""

    cpu_s: float | None = None
    memory_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SandboxOutcome:
    """How a sandbox ended, and what it left.

    `collected` are the files that the injected collector made.
    """

    ended: Ended
    exit_code: int | None
    detail: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    usage: Usage = field(default_factory=Usage)
    outputs: Mapping[str, Artifact] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    """Output name -> why it was not taken (too large, a link, a device...)."""
    collected: Mapping[str, Artifact] = field(default_factory=dict)
    uncollected: str = ""
    """Why the collector failed on what was left; empty: it did not, or was not asked."""


@dataclass(frozen=True, slots=True)
class SandboxSummary:
    """A sandbox of ours that the engine still knows."""

    id: SandboxId
    name: str
    fingerprint: str
    running: bool

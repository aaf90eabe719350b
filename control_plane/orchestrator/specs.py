"""From what a run asks to what its sandboxes are: pure, so that the same run always has the same specs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from control_plane.repos.environments.prepare import DEADLINE_S, Preparation
from control_plane.runs.models import Run
from quality_gates.model import StagePlan
from runners import protocol
from runners.protocol import Capsule, Driver
from sandboxes.names import SandboxName
from sandboxes.spec import Input, Limits, Output, SandboxSpec, Workspace

EXECUTE = "execute"
"""The stage of the agent's own sandbox."""
RESULT_BYTES = 1 * 2**20
PATCH_BYTES = 256 * 2**20
PREPARE_DISK_BYTES = 6 * 2**30
"""An environment, its archive and pip's scratch lie on one disk."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A file to place in a sandbox, before it is a blob."""

    path: str
    contents: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """A sandbox that is decided and not yet stored: `place` turns the files into inputs."""

    stage: str
    capsule: Capsule
    limits: Limits
    files: tuple[Bytes, ...] = ()
    blobs: Mapping[str, str] = field(default_factory=dict)
    """Path -> sha256 of what is a blob already."""
    workspace: Workspace | None = None
    environment: tuple[str, ...] = ()
    outputs: Mapping[str, int] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    egress: tuple[str, ...] = ()

    def capsule_bytes(self) -> bytes:
        """The capsule as it lies in the sandbox, and as the door serves it."""
        return json.dumps(self.capsule.to_json(), sort_keys=True, separators=(",", ":")).encode()


def place(draft: Draft, *, name: SandboxName, image: str, blobs: Mapping[str, str]) -> SandboxSpec:
    """The spec of `draft`.

    `blobs` maps every path of its files, the capsule and the runner to the blob that holds it.
    """
    inputs = {**draft.blobs, **blobs}
    return SandboxSpec(
        name=str(name),
        image=image,
        command=protocol.COMMAND,
        limits=draft.limits,
        environ={"VSC_GATEWAY_PORT": str(protocol.GATEWAY_PORT), **draft.environ},
        inputs=tuple(Input(path, sha256) for path, sha256 in sorted(inputs.items())),
        workspace=draft.workspace,
        environment=draft.environment,
        outputs=tuple(
            Output(output, limit)
            for output, limit in sorted({protocol.RESULT: RESULT_BYTES, **draft.outputs}.items())
        ),
        door=True,
        egress=draft.egress,
    )


def execute_draft(
    *,
    run: str,
    driver: Mapping[str, Any],
    deadline_s: float,
    workspace: Workspace,
    environment: tuple[str, ...],
    packet: bytes,
) -> Draft:
    """The agent's own sandbox.

    `driver` is the run's: `{"kind": "command", "argv": [...]}` or `{"kind": "patch", "sha256":
    ...}`.
    """
    kind = driver["kind"]
    return Draft(
        stage=EXECUTE,
        capsule=Capsule(
            run=run,
            stage=EXECUTE,
            driver=Driver(
                kind=kind,
                argv=tuple(driver.get("argv", ())),
                environ=cast("dict[str, str]", dict(driver.get("environ", {}))),
            ),
            deadline_s=deadline_s,
            relay=True,
        ),
        limits=Limits(deadline_s=deadline_s),
        files=(Bytes(protocol.PACKET, packet),),
        blobs={protocol.GIVEN_PATCH: driver["sha256"]} if kind == "patch" else {},
        workspace=workspace,
        environment=environment,
    )


def prepare_draft(run: Run, made: Preparation, workspace: Workspace) -> Draft:
    """The sandbox that makes an environment: base's files, a proxy to the package hosts, nothing of the change."""
    return Draft(
        stage="prepare",
        capsule=Capsule(
            run=str(run.id),
            stage="prepare",
            driver=made.driver,
            deadline_s=DEADLINE_S,
            relay=made.relay,
        ),
        limits=Limits(deadline_s=DEADLINE_S, disk_bytes=PREPARE_DISK_BYTES, disk_files=400_000),
        files=tuple(Bytes(path, contents) for path, contents in sorted(made.inputs.items())),
        workspace=workspace,
        outputs=made.outputs,
        egress=made.allow,
    )


def judge_draft(
    *, run: str, plan: StagePlan, workspace: Workspace, environment: tuple[str, ...]
) -> Draft:
    """One of the judge's sandboxes, from the plan of its stage."""
    return Draft(
        stage=plan.stage.value,
        capsule=Capsule(
            run=run,
            stage=plan.stage.value,
            driver=Driver(kind="verify", tools=plan.tools),
            deadline_s=plan.deadline_s,
            log_bytes=16 * 2**20,
        ),
        limits=Limits(deadline_s=plan.deadline_s),
        files=tuple(Bytes(path, contents) for path, contents in sorted(plan.inputs.items())),
        workspace=workspace,
        environment=environment if plan.needs_environment else (),
        outputs=plan.outputs,
    )

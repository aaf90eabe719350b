"""From what a run asks to what its sandboxes are. Pure: the same run always has the same specs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.repos.environments.prepare import DEADLINE_S, Preparation
from control_plane.runs.models import Run
from control_plane.sessions.documents import DOCUMENT, DOCUMENT_BYTES
from control_plane.sessions.drivers import Driver, Product, kind
from quality_gates.model import StagePlan
from runners import protocol
from runners.protocol import Capsule
from sandboxes.names import SandboxName
from sandboxes.spec import Input, Limits, Output, SandboxSpec, Workspace

EXECUTE, PREPARE = "execute", "prepare"
"""The stages of the agent's own sandbox, and of the one in which an environment is made."""
RESULT_BYTES = 1 * 2**20
OUTPUTS: Mapping[Product, Mapping[str, int]] = {
    Product.PATCH: {},
    Product.DOCUMENT: {DOCUMENT: DOCUMENT_BYTES},
}
"""What a session's sandbox may leave beside its workspace."""
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


def session_draft(
    *,
    run: str,
    driver: Driver,
    product: Product,
    deadline_s: float,
    workspace: Workspace,
    environment: tuple[str, ...],
    packet: bytes,
) -> Draft:
    """The agent's own sandbox."""
    return Draft(
        stage=EXECUTE,
        capsule=Capsule(
            run=run,
            stage=EXECUTE,
            driver=kind(driver).in_capsule(driver),
            deadline_s=deadline_s,
            door=True,
            relay=True,
        ),
        limits=Limits(deadline_s=deadline_s),
        files=(Bytes(protocol.PACKET, packet),),
        blobs=kind(driver).inputs(driver),
        workspace=workspace,
        environment=environment,
        outputs=OUTPUTS[product],
    )


def prepare_draft(run: Run, made: Preparation, workspace: Workspace) -> Draft:
    """The sandbox that makes an environment: base's files, a proxy to the index, no change."""
    return Draft(
        stage=PREPARE,
        capsule=Capsule(
            run=str(run.id),
            stage=PREPARE,
            driver=made.driver,
            deadline_s=DEADLINE_S,
            door=True,
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
            driver=protocol.ToolsDriver(plan.tools),
            deadline_s=plan.deadline_s,
            door=True,
            log_bytes=16 * 2**20,
        ),
        limits=Limits(deadline_s=plan.deadline_s),
        files=tuple(Bytes(path, contents) for path, contents in sorted(plan.inputs.items())),
        workspace=workspace,
        environment=environment if plan.needs_environment else (),
        outputs=plan.outputs,
    )

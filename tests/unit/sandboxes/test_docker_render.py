"""The engine's words for a spec: every hardening is there; a spec that asks for more is refused."""

import dataclasses
import json
from pathlib import Path

import pytest

from sandboxes.docker.render import container_config, seccomp_profile
from sandboxes.errors import SandboxStartFailed
from sandboxes.spec import Input, Limits, Output, SandboxSpec, Workspace

SPEC = SandboxSpec(
    name="vsc-abcdef-" + "0" * 32 + "-head-0",
    image="sha256:" + "a" * 64,
    command=("/bin/run", "-x"),
    limits=Limits(deadline_s=10, cpus=1.5, memory_bytes=1000, pids=7, disk_files=9, tmp_bytes=11),
    environ={"B": "2", "A": "1"},
    workspace=Workspace(base="snapshots/x"),
)


def render(spec=SPEC, **binds):
    paths = {"/workspace": Path("/h/tree"), "/out": Path("/h/out"), "/vsc": Path("/h/in")}
    return container_config(
        spec, install="abcdef", owner=10001, binds=paths, writable=frozenset({"/workspace", "/out"})
    )


def test_the_posture():
    config = render()
    host = config["HostConfig"]

    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert "CapAdd" not in host
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["SecurityOpt"][0] == "no-new-privileges:true"
    assert (
        json.loads(host["SecurityOpt"][1].removeprefix("seccomp="))["defaultAction"]
        == "SCMP_ACT_ERRNO"
    )
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        1000,
        1000,
        1_500_000_000,
        7,
    )
    assert host["RestartPolicy"] == {"Name": "no"}
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"], config["WorkingDir"]) == (
        ["/bin/run"],
        ["-x"],
        "/workspace",
    )
    assert config["Labels"] == {
        "vsc.install": "abcdef",
        "vsc.name": SPEC.name,
        "vsc.fingerprint": SPEC.fingerprint(),
    }
    assert config["Env"][:2] == ["A=1", "B=2"]


def test_only_named_mounts_are_writable():
    found = {one["Target"]: one["ReadOnly"] for one in render()["HostConfig"]["Mounts"]}

    assert found == {"/workspace": False, "/out": False, "/vsc": True}


def test_the_images_own_working_directory_is_never_used():
    assert render(dataclasses.replace(SPEC, workspace=None))["WorkingDir"] == "/"


REFUSED = {
    "a tag": {"image": "python:3.13"},
    "no command": {"command": ()},
    "a nul": {"command": ("a\0b",)},
    "an environment name": {"environ": {"A=B": "1"}},
    "an input elsewhere": {"inputs": (Input("/etc/passwd", "0" * 64),)},
    "an input upwards": {"inputs": (Input("/vsc/../etc/passwd", "0" * 64),)},
    "an input at the root": {"inputs": (Input("/vsc", "0" * 64),)},
    "an output elsewhere": {"outputs": (Output("../x", 1),)},
    "an output that is hidden": {"outputs": (Output("..", 1),)},
    "another workspace": {"workspace": Workspace(base="x", path="/etc")},
    "no memory": {"limits": Limits(deadline_s=1, memory_bytes=0)},
    "no deadline": {"limits": Limits(deadline_s=0)},
    "unlimited processes": {"limits": Limits(deadline_s=1, pids=-1)},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_sandbox_gets(what):
    with pytest.raises(SandboxStartFailed):
        render(dataclasses.replace(SPEC, **REFUSED[what]))


@pytest.mark.parametrize(
    "call",
    [
        "ptrace", "io_uring_setup", "bpf", "keyctl", "userfaultfd", "perf_event_open", "mount",
        "unshare", "setns", "open_by_handle_at", "process_vm_readv", "pidfd_getfd", "kexec_load",
        "init_module", "clone3",
    ],
)  # fmt: skip
def test_calls_that_the_profile_does_not_allow(call):
    rules = json.loads(seccomp_profile())["syscalls"]

    assert not [
        rule for rule in rules if call in rule["names"] and rule["action"] == "SCMP_ACT_ALLOW"
    ]

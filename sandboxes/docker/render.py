"""A sandbox spec in the Engine API's words; pure.

Everything that a container may do is decided on this page.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from sandboxes.errors import SandboxStartFailed
from sandboxes.inside import INPUTS, WORKSPACE
from sandboxes.spec import SandboxSpec

INSTALL, NAME, FINGERPRINT = "vsc.install", "vsc.name", "vsc.fingerprint"
"""The labels. `INSTALL` keeps installations on one engine apart."""


_FIXED_ENVIRON = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the sandbox's own tmpfs
    "LANG": "C.UTF-8",
}
_HOSTNAME = "sandbox"
_OPEN_FILES = 4096
_SHARED_MEMORY_BYTES = 64 * 2**20
_LOCKED_MEMORY_BYTES = 64 * 2**10
_QUEUE_BYTES = 800 * 2**10
_OUTPUT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_WHOLE_IMAGE = re.compile(r"sha256:[0-9a-f]{64}|[a-z][a-z0-9-]{0,40}@[0-9a-f]{24}")


def container_config(
    spec: SandboxSpec,
    *,
    install: str,
    owner: int,
    binds: Mapping[str, Path],
    writable: frozenset[str],
) -> dict[str, Any]:
    """The body of `POST /containers/create`.

    `binds` are the host's directories by their path inside; only those in `writable` may be
    written.

    Raises:
        SandboxStartFailed: the spec asks for something that no sandbox gets.
    """
    check(spec)
    return {
        "Image": spec.image,
        # Both are given, so that nothing of the image's own entry point or command is left.
        "Entrypoint": [spec.command[0]],
        "Cmd": list(spec.command[1:]),
        "Env": [
            f"{name}={value}" for name, value in sorted({**_FIXED_ENVIRON, **spec.environ}.items())
        ],
        "User": f"{owner}:{owner}",
        # Always given: an image's own could lead through /proc/self/fd (CVE-2024-21626).
        "WorkingDir": spec.workspace.path if spec.workspace else "/",
        "Hostname": _HOSTNAME,
        "Labels": labels(spec, install),
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdin": False,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": _host_config(spec, owner, binds, writable),
    }


def labels(spec: SandboxSpec, install: str) -> dict[str, str]:
    """What a sandbox is known by, whoever asks the engine."""
    return {INSTALL: install, NAME: spec.name, FINGERPRINT: spec.fingerprint()}


def check(spec: SandboxSpec) -> None:
    """Refuse a spec that this engine must not start. Raises SandboxStartFailed."""
    for wrong, reason in (
        (
            not _WHOLE_IMAGE.fullmatch(spec.image),
            "an image is named with its identity (`python@...`, `sha256:...`), never by a tag",
        ),
        (not spec.command, "there is no command"),
        (
            any("\0" in text for text in (*spec.command, *spec.environ.values())),
            "a NUL in the command or environment",
        ),
        (
            any("=" in name or "\0" in name or not name for name in spec.environ),
            "a malformed environment name",
        ),
        (
            any(not _below(one.path, INPUTS) for one in spec.inputs),
            f"an input lies outside {INPUTS}",
        ),
        (
            any(not _OUTPUT_NAME.fullmatch(one.name) for one in spec.outputs),
            "an output is one plain file name",
        ),
        (
            spec.workspace and spec.workspace.path != WORKSPACE,
            f"the workspace is {WORKSPACE} on every provider",
        ),
        (_limits_missing(spec), "every limit is a positive number"),
    ):
        if wrong:
            raise SandboxStartFailed(spec.image, reason)


@cache
def _loopback_in_ipv6() -> dict[str, str]:
    """Docker takes `::1` from a sandbox without network. Tests look for it, and some for ever."""
    if not Path("/proc/sys/net/ipv6").exists():  # a kernel without it: no sandbox would start
        return {}
    return {f"net.ipv6.conf.{one}.disable_ipv6": "0" for one in ("all", "lo")}


def _host_config(
    spec: SandboxSpec, owner: int, binds: Mapping[str, Path], writable: frozenset[str]
) -> dict[str, Any]:
    limits = spec.limits
    tmpfs = f"rw,nosuid,nodev,exec,mode=1777,size={limits.tmp_bytes},nr_inodes={limits.disk_files}"
    config: dict[str, Any] = {
        # Not `NetworkDisabled`: with that, /etc/hosts is empty, and nobody knows localhost.
        "NetworkMode": "none",
        "ExtraHosts": [f"{_HOSTNAME}:127.0.0.1"],
        "Sysctls": _loopback_in_ipv6(),
        "Dns": ["127.0.0.1"],  # nobody answers, at once; the host's own servers are not told
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp_profile()}"],
        "Privileged": False,
        "PidsLimit": limits.pids,
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,  # memory and swap together: no swap
        "NanoCpus": int(limits.cpus * 1e9),
        "Ulimits": [
            _ulimit("nofile", _OPEN_FILES),
            _ulimit("core", 0),
            _ulimit("memlock", _LOCKED_MEMORY_BYTES),
            _ulimit("msgqueue", _QUEUE_BYTES),
        ],
        "Tmpfs": {"/tmp": f"{tmpfs},uid={owner},gid={owner}"},  # noqa: S108 - the sandbox's own
        "ShmSize": _SHARED_MEMORY_BYTES,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        # when the host itself runs out, a sandbox goes before the control plane
        "OomScoreAdj": 500,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "Init": False,  # the runner is PID 1 and reaps
        "Mounts": [
            _bind(inside, host, read_only=inside not in writable)
            for inside, host in sorted(binds.items())
        ],
    }
    if spec.runtime_class:
        config["Runtime"] = spec.runtime_class
    return config


@cache
def seccomp_profile() -> str:
    """Our profile as JSON text: Docker's shape, an allow list, tighter than Docker's default."""
    text = resources.files("sandboxes.docker").joinpath("seccomp.json").read_text(encoding="utf-8")
    return json.dumps(json.loads(text), separators=(",", ":"))


def _bind(inside: str, host: Path, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(host),
        "Target": inside,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}


def _below(path: str, root: str) -> bool:
    pure = PurePosixPath(path)
    return (
        pure.is_absolute()
        and ".." not in pure.parts
        and PurePosixPath(root) in pure.parents
        and "\0" not in path
    )


def _limits_missing(spec: SandboxSpec) -> bool:
    limits = spec.limits
    amounts = (
        limits.deadline_s,
        limits.cpus,
        limits.memory_bytes,
        limits.pids,
        limits.disk_bytes,
        limits.disk_files,
    )
    return (
        any(amount <= 0 for amount in amounts)
        or limits.tmp_bytes <= 0
        or limits.hydrate_s < 0
        or limits.grace_s < 0
        or limits.upload_s < 0
    )

"""A recipe as the driver of a `prepare` run: its inputs, what it may reach, its outputs. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.repos.environments.detect import EnvironmentRecipe
from control_plane.repos.environments.index import PackageAccess
from quality_gates.toolrun import ToolRun
from quality_gates.where import IMAGE, INPUTS, OUT
from runners.protocol import GATEWAY_PORT, PrepareDriver

LAYERS = "env.layers"
NOTES = "prepare.json"
CA_BUNDLE = f"{INPUTS}/ca.pem"
_PROGRAM, _RECIPE = f"{INPUTS}/prepare.py", f"{INPUTS}/prepare.json"
_SCRATCH = f"{OUT}/tmp"  # noqa: S108 -- the sandbox's own output directory
_TIMEOUTS_S = {
    "start": 120.0,
    "dependencies": 900.0,
    "tools": 300.0,
    "project": 600.0,
    "finish": 300.0,
}
DEADLINE_S = sum(_TIMEOUTS_S.values())

PROGRAM = Path(__file__).with_name("inside.py")


@dataclass(frozen=True, slots=True)
class Preparation:
    """Everything that the caller puts into the sandbox's spec and capsule."""

    driver: PrepareDriver
    inputs: Mapping[str, bytes]
    outputs: Mapping[str, int]
    """Output name -> its byte limit."""
    relay: bool = False
    allow: tuple[str, ...] = field(default=())
    """`host:port` that the door's proxy lets through; empty: the sandbox has no egress."""


def preparation(recipe: EnvironmentRecipe, access: PackageAccess | None) -> Preparation:
    """The run that makes the recipe's environment.

    A recipe that fetches nothing gets no way out, whatever `access` is.

    Raises:
        ValueError: the recipe fetches and `access` is None; ask this machine's pip first
            (`index.ask`).
    """
    program = PROGRAM.read_bytes()
    if recipe.fetches and access is None:
        raise ValueError("the environment needs packages, and nobody has said from which index")
    reach = access if recipe.fetches else None
    environ = _environ(recipe, reach)
    tools = tuple(
        ToolRun(
            name=step,
            argv=(f"{IMAGE}/bin/python", "-I", _PROGRAM, step),
            timeout_s=timeout_s,
            environ=environ,
            cwd="/tmp",  # noqa: S108 -- the sandbox's private tmpfs
        )
        for step, timeout_s in _TIMEOUTS_S.items()
    )
    inputs = {_PROGRAM: program, _RECIPE: json.dumps(recipe.to_json(), sort_keys=True).encode()}
    if reach is not None:
        inputs[CA_BUNDLE] = reach.ca_bundle
    return Preparation(
        driver=PrepareDriver(tools, directory=f"{OUT}/env"),
        inputs=inputs,
        outputs={LAYERS: 2 * 2**30, NOTES: 1 << 20},
        relay=reach is not None,
        allow=reach.allow if reach else (),
    )


def _environ(recipe: EnvironmentRecipe, access: PackageAccess | None) -> dict[str, str]:
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 -- the sandbox's private tmpfs
        "TMPDIR": _SCRATCH,  # on the workspace's disk, not in memory as /tmp is
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": "1577836800",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_NO_CACHE_DIR": "1",
        # also hatch-vcs: there is no history to ask
        "SETUPTOOLS_SCM_PRETEND_VERSION": recipe.version,
        "PDM_BUILD_SCM_VERSION": recipe.version,
        "PBR_VERSION": recipe.version,
        "POETRY_DYNAMIC_VERSIONING_BYPASS": recipe.version,
    }
    if recipe.packages_before:
        environ["PIP_UPLOADED_PRIOR_TO"] = recipe.packages_before
    if not recipe.allow_builds:
        environ["PIP_ONLY_BINARY"] = ":all:"
    if access is None:
        return environ | {"PIP_NO_INDEX": "1"}
    proxy = f"http://127.0.0.1:{GATEWAY_PORT}"
    return environ | {
        "PIP_INDEX_URL": access.index_url,
        "PIP_EXTRA_INDEX_URL": " ".join(access.extra_urls),
        "PIP_CERT": CA_BUNDLE,
        "SSL_CERT_FILE": CA_BUNDLE,
        "REQUESTS_CA_BUNDLE": CA_BUNDLE,
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "PIP_TIMEOUT": "60",
        "PIP_RETRIES": "2",
    }

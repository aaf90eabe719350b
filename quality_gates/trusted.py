"""All that steers the judge's tools and that no repository can change, and the hash of it."""

import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from quality_gates.linting import ruff_configuration
from quality_gates.model import GatePolicy
from quality_gates.paths import JUDGE
from quality_gates.rules import pack, pack_sha256

BANDIT = "skips: []\n"
BANDIT_INI = "[bandit]\n"
PLUGIN_FILES = (
    "run_tests.py",
    "vsc_judge.py",
    "vsc_equals.py",
    "canary/vsc_canary.py",
    "never/vsc_never_imported.py",
)
NEVER_IMPORTED = f"{JUDGE}/never/vsc_never_imported.py"
"""The file that must stay at 0 % coverage, as a stage sees it."""


def coveragerc(include: tuple[str, ...], *, honour_pragmas: bool) -> str:
    """Line coverage by `sys.monitoring`, of `include` alone.

    With empty exclusion lists no comment takes a line out.
    """
    included = "".join(f"\n    {pattern}" for pattern in include)
    exclusions = "" if honour_pragmas else "exclude_lines =\nexclude_also =\npartial_branches =\n"
    return (
        f"[run]\ncore = sysmon\nbranch = false\nparallel = false\n"
        f"relative_files = false\nsource ={included}\n"
        "disable_warnings = no-data-collected,module-not-imported,"
        "module-not-measured,no-sysmon,couldnt-parse\n"
        f"[report]\ninclude_namespace_packages = true\nignore_errors = true\n{exclusions}"
    )


@cache
def plugin_file(name: str) -> bytes:
    """One of `PLUGIN_FILES`."""
    return resources.files("quality_gates").joinpath("judge_plugin", *name.split("/")).read_bytes()


def rule_pack() -> dict[str, bytes]:
    """Our semgrep rules: file name -> contents."""
    return pack()


def rule_pack_sha256() -> str:
    """Which rules these are."""
    return pack_sha256()


@cache
def _code_sha256() -> str:
    """All of this package's own code and data, the rules' examples left out.

    A change to any of it is another judge.
    """
    digest = hashlib.sha256()
    for name, content in sorted(_files(resources.files("quality_gates"), "")):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def configuration_sha256(policy: GatePolicy) -> str:
    """What identifies base evidence beside commit, environment and image.

    Of the policy, only the lint rules steer a tool.
    """
    parts = (_code_sha256(), pack_sha256(), ruff_configuration(policy.linting_rules, {}))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir() and entry.name not in {"__pycache__", "rules", "render"}:
            found += _files(entry, f"{name}/")
        elif entry.is_file() and entry.name.endswith((".py", ".json")):
            found.append((name, entry.read_bytes()))
    return found

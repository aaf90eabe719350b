"""The tools that read and never execute, each on an explicit list of files.

ruff, bandit, semgrep, detect-secrets. A file that has its Python name through a link is given to
them under that name: all of them open what it leads to.
"""

from collections.abc import Iterable

from quality_gates import trusted
from quality_gates.linting import ruff_configuration
from quality_gates.model import Change, GatePolicy, Stage, StagePlan, TreeRecipe
from quality_gates.paths import JUDGE, OUT, in_workspace, is_python, is_regular
from quality_gates.selection import aliases, changed_python, changed_texts
from quality_gates.toolrun import ToolRun

STATIC_TIMEOUT_S = 300.0
RUFF, BANDIT, SEMGREP, SECRETS = "ruff.json", "bandit.json", "semgrep.json", "secrets.json"
OUTPUTS = {RUFF: 64 * 2**20, BANDIT: 64 * 2**20, SEMGREP: 64 * 2**20, SECRETS: 32 * 2**20}
SEMGREP_EXPERIMENTAL = True
"""Whether semgrep's newer engine is used: several times as fast to start, and still experimental.

The older one refuses links, so a change with Python through links would be inconclusive.
"""
_TOOLS = "/opt/vsc/bin"


def head_static(
    change: Change, policy: GatePolicy, *, experimental: bool = SEMGREP_EXPERIMENTAL
) -> StagePlan:
    """The changed files of head.

    Scripts without a suffix also under a name that says what they are, base's version beside it.
    """
    shown = aliases(change)
    contents = {"head": change.head_contents, "base": change.base_contents}
    return _stage(
        Stage.STATIC,
        TreeRecipe("head"),
        policy,
        python=[in_workspace(path) for path in changed_python(change)],
        suffixed=[in_workspace(path) for path in changed_python(change) if is_python(path)]
        + [a.location for a in shown],
        texts=[in_workspace(path) for path in changed_texts(change)],
        extra={alias.location: contents[alias.side][alias.path] for alias in shown},
        pyproject=change.base_contents.get("pyproject.toml"),
        experimental=experimental,
    )


def base_static(
    change: Change, policy: GatePolicy, *, experimental: bool = SEMGREP_EXPERIMENTAL
) -> StagePlan:
    """All files of base, whatever the patch is: the result is kept and used again."""
    python = [in_workspace(path) for path in sorted(change.base_python.modules)]
    texts = [
        in_workspace(path) for path, mode in sorted(change.base_tree.items()) if is_regular(mode)
    ]
    return _stage(
        Stage.BASE_STATIC,
        TreeRecipe("base"),
        policy,
        python=python,
        suffixed=python,
        texts=texts,
        extra={},
        pyproject=change.base_contents.get("pyproject.toml"),
        experimental=experimental,
    )


def _stage(
    stage: Stage,
    tree: TreeRecipe,
    policy: GatePolicy,
    *,
    python: list[str],
    suffixed: list[str],
    texts: list[str],
    extra: dict[str, bytes],
    pyproject: bytes | None,
    experimental: bool,
) -> StagePlan:
    tools: list[ToolRun] = []
    if python:
        tools += [_ruff(python), _bandit(python)]
    if suffixed:
        tools.append(_semgrep(suffixed, experimental=experimental))
    if texts:
        tools.append(_secrets(texts))
    configuration = {
        f"{JUDGE}/ruff.toml": ruff_configuration(policy.linting_rules, pyproject).encode(),
        f"{JUDGE}/bandit.yaml": trusted.BANDIT.encode(),
        f"{JUDGE}/bandit.ini": trusted.BANDIT_INI.encode(),
        f"{JUDGE}/scan_secrets.py": trusted.plugin_file("scan_secrets.py"),
        **{f"{JUDGE}/rules/{name}": content for name, content in trusted.rule_pack().items()},
    }
    outputs = {
        name: size for name, size in OUTPUTS.items() if any(name == _output(tool) for tool in tools)
    }
    return StagePlan(
        stage, tree, tuple(tools), outputs, STATIC_TIMEOUT_S + 60, {**configuration, **extra}
    )


def _output(tool: ToolRun) -> str:
    return tool.stdout or f"{tool.name}.json"


def _environ() -> dict[str, str]:
    return {
        "PATH": f"{_TOOLS}:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 -- the sandbox's private tmpfs
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SEMGREP_SETTINGS_FILE": "/tmp/semgrep-settings.yml",  # noqa: S108 -- likewise
        "SEMGREP_LOG_FILE": "/tmp/semgrep.log",  # noqa: S108 -- likewise
        "SEMGREP_SEND_METRICS": "off",
        "SEMGREP_ENABLE_VERSION_CHECK": "0",
    }


def _python(module: str, *argv: str) -> tuple[str, ...]:
    return (f"{_TOOLS}/python", "-I", "-B", "-m", module, *argv)


def _ruff(files: Iterable[str]) -> ToolRun:
    argv = (
        f"{_TOOLS}/ruff", "check", "--config", f"{JUDGE}/ruff.toml", "--ignore-noqa", "--no-cache",
        "--no-fix", "--exit-zero", "--output-format", "json", "--output-file", f"{OUT}/{RUFF}",
        "--", *files,
    )  # fmt: skip
    return ToolRun("ruff", argv, STATIC_TIMEOUT_S, _environ())


def _bandit(files: Iterable[str]) -> ToolRun:
    argv = _python(
        "bandit", "-q", "-c", f"{JUDGE}/bandit.yaml", "--ini", f"{JUDGE}/bandit.ini",
        "--ignore-nosec", "-x", "/vsc/nowhere", "--exit-zero", "-f", "json",
        "-o", f"{OUT}/{BANDIT}", "--", *files,
    )  # fmt: skip
    return ToolRun("bandit", argv, STATIC_TIMEOUT_S, _environ())


def _semgrep(files: Iterable[str], *, experimental: bool) -> ToolRun:
    argv = (
        f"{_TOOLS}/semgrep", "scan", *(("--experimental",) if experimental else ()),
        "--config", f"{JUDGE}/rules", "--metrics=off", "--disable-version-check",
        "--disable-nosem", "--no-git-ignore", "--max-target-bytes", "0", "--timeout", "60",
        "--timeout-threshold", "0", "--jobs", "2", "--quiet", "--json", "--", *files,
    )  # fmt: skip
    return ToolRun("semgrep", argv, STATIC_TIMEOUT_S, _environ(), stdout=SEMGREP)


def _secrets(files: Iterable[str]) -> ToolRun:
    argv = (f"{_TOOLS}/python", "-I", "-B", f"{JUDGE}/scan_secrets.py", f"{OUT}/{SECRETS}", *files)
    return ToolRun("secrets", argv, STATIC_TIMEOUT_S, _environ())

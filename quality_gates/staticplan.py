"""The tools that read and never execute, each on an explicit list of files.

ruff, bandit, semgrep, detect-secrets. A file that has its Python name through a link is given to
them under that name: all of them open what it leads to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from quality_gates import trusted
from quality_gates.batches import batches
from quality_gates.linting import ruff_configuration
from quality_gates.model import Change, GatePolicy, Stage, StagePlan, TreeRecipe
from quality_gates.paths import JUDGE, in_workspace, is_python, is_regular
from quality_gates.selection import aliases, changed_python, changed_texts
from quality_gates.toolrun import ToolRun
from quality_gates.where import IMAGE, INPUTS, OUT, WORKSPACE

STATIC_TIMEOUT_S = 300.0
RUFF_HONOURING = "ruff_honouring"
"""ruff over base once more, with each `noqa` honoured: which rules base keeps to."""
OUTPUT_BYTES = {
    "ruff": 64 * 2**20,
    RUFF_HONOURING: 64 * 2**20,
    "bandit": 64 * 2**20,
    "semgrep": 64 * 2**20,
    "secrets": 32 * 2**20,
}
SEMGREP_EXPERIMENTAL = True
"""Whether semgrep's newer engine is used: several times as fast to start, and still experimental.

The older one refuses links, so a change with Python through links would be inconclusive.
"""
_TOOLS = f"{IMAGE}/bin"
_Command = Callable[[str, Iterable[str]], ToolRun]
"""Name of a run and its files -> the run."""


def runs_of(tool: str, change: Change, stage: Stage) -> dict[str, tuple[str, ...]]:
    """The runs of one of the tools in that static stage: name -> the files that it reads."""
    of_base = stage is Stage.BASE_STATIC
    if tool == RUFF_HONOURING and not of_base:
        return {}
    if tool == "secrets":
        paths = _texts_of_base(change) if of_base else changed_texts(change)
    else:
        paths = sorted(change.base_python.modules) if of_base else changed_python(change)
    # Base's scripts are known where the patch is: its own stage reads what tools know by suffix.
    shown = [] if of_base or tool == "secrets" else aliases(change)
    if tool == "semgrep":
        paths = [path for path in paths if is_python(path)]
    else:
        shown = [alias for alias in shown if alias.side == "base"]
    return batches(tool, [*map(in_workspace, paths), *(alias.location for alias in shown)])


def _texts_of_base(change: Change) -> list[str]:
    return [path for path, mode in sorted(change.base_tree.items()) if is_regular(mode)]


def head_static(
    change: Change, policy: GatePolicy, *, experimental: bool = SEMGREP_EXPERIMENTAL
) -> StagePlan:
    """The changed files of head.

    Scripts without a suffix also under a name that says what they are, base's version beside it.
    """
    contents = {"head": change.head_contents, "base": change.base_contents}
    shown = {alias.location: contents[alias.side][alias.path] for alias in aliases(change)}
    return _stage(Stage.STATIC, "head", change, policy, shown, experimental=experimental)


def base_static(
    change: Change, policy: GatePolicy, *, experimental: bool = SEMGREP_EXPERIMENTAL
) -> StagePlan:
    """All files of base, whatever the patch is: the result is kept and used again."""
    return _stage(Stage.BASE_STATIC, "base", change, policy, {}, experimental=experimental)


def _stage(
    stage: Stage,
    side: str,
    change: Change,
    policy: GatePolicy,
    shown: dict[str, bytes],
    *,
    experimental: bool,
) -> StagePlan:
    commands: dict[str, _Command] = {
        "ruff": _ruff,
        RUFF_HONOURING: partial(_ruff, honouring=True),
        "bandit": _bandit,
        "semgrep": partial(_semgrep, experimental=experimental),
        "secrets": _secrets,
    }
    runs = {tool: runs_of(tool, change, stage) for tool in commands}
    tools = [run for tool in runs for run in _in_turn(commands[tool], runs[tool])]
    turns = max(1, *map(len, runs.values()))
    inputs = {
        f"{JUDGE}/ruff.toml": ruff_configuration(
            policy.linting_rules, change.base_contents
        ).encode(),
        f"{JUDGE}/bandit.yaml": trusted.BANDIT.encode(),
        f"{JUDGE}/bandit.ini": trusted.BANDIT_INI.encode(),
        f"{JUDGE}/scan_secrets.py": trusted.plugin_file("scan_secrets.py"),
        **{f"{JUDGE}/rules/{name}": content for name, content in trusted.rule_pack().items()},
        **shown,
    }
    return StagePlan(
        stage,
        TreeRecipe(side),
        tuple(tools),
        outputs={
            output_of(run): OUTPUT_BYTES[tool] for tool, of_tool in runs.items() for run in of_tool
        },
        deadline_s=STATIC_TIMEOUT_S * turns + 60,
        inputs=inputs,
    )


def _in_turn(command: _Command, runs: Mapping[str, Iterable[str]]) -> Iterator[ToolRun]:
    """The runs of one tool, one after another: many files must not mean many processes."""
    before: tuple[str, ...] = ()
    for name, files in runs.items():
        yield replace(command(name, files), after=before)
        before = (name,)


def output_of(name: str) -> str:
    """Where the run of a tool leaves its report."""
    return f"{name}.json"


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


def _ruff(name: str, files: Iterable[str], *, honouring: bool = False) -> ToolRun:
    argv = (
        f"{_TOOLS}/ruff", "check", "--config", f"{JUDGE}/ruff.toml",
        *(() if honouring else ("--ignore-noqa",)), "--no-cache",
        "--no-fix", "--exit-zero", "--output-format", "json",
        "--output-file", f"{OUT}/{output_of(name)}", "--", *files,
    )  # fmt: skip
    # Globs of files are read from there.
    return ToolRun(name, argv, STATIC_TIMEOUT_S, _environ(), cwd=WORKSPACE)


def _bandit(name: str, files: Iterable[str]) -> ToolRun:
    argv = _python(
        "bandit", "-q", "-c", f"{JUDGE}/bandit.yaml", "--ini", f"{JUDGE}/bandit.ini",
        "--ignore-nosec", "-x", f"{INPUTS}/nowhere", "--exit-zero", "-f", "json",
        "-o", f"{OUT}/{output_of(name)}", "--", *files,
    )  # fmt: skip
    return ToolRun(name, argv, STATIC_TIMEOUT_S, _environ())


def _semgrep(name: str, files: Iterable[str], *, experimental: bool) -> ToolRun:
    argv = (
        f"{_TOOLS}/semgrep", "scan", *(("--experimental",) if experimental else ()),
        "--config", f"{JUDGE}/rules", "--metrics=off", "--disable-version-check",
        "--disable-nosem", "--no-git-ignore", "--max-target-bytes", "0", "--timeout", "60",
        "--timeout-threshold", "0", "--jobs", "2", "--quiet", "--json", "--", *files,
    )  # fmt: skip
    return ToolRun(name, argv, STATIC_TIMEOUT_S, _environ(), stdout=output_of(name))


def _secrets(name: str, files: Iterable[str]) -> ToolRun:
    argv = (
        f"{_TOOLS}/python", "-I", "-B", f"{JUDGE}/scan_secrets.py", f"{OUT}/{output_of(name)}",
        *files,
    )  # fmt: skip
    return ToolRun(name, argv, STATIC_TIMEOUT_S, _environ())

"""One run of the judged tests under coverage, as the tools of a stage."""

import fnmatch
import json
import shlex
from collections.abc import Mapping

from quality_gates import trusted
from quality_gates.layout import Layout, layout
from quality_gates.model import Change, Environment, Stage, StagePlan, TreeRecipe
from quality_gates.paths import CONFIGURATION, JUDGE
from quality_gates.pytest_config import PytestConfiguration, read
from quality_gates.toolrun import ToolRun
from quality_gates.where import ENV, MADE, OUT, WORKSPACE

TESTS_TIMEOUT_S = 1500.0
REPORT_TIMEOUT_S = 120.0
JUNIT, SESSION, DATA, COVERAGE, COVERAGE_HONOURED = (
    "junit.xml",
    "session.json",
    "coverage.data",
    "coverage.json",
    "coverage-pragmas.json",
)
OUTPUTS = {
    JUNIT: 32 * 2**20,
    SESSION: 32 * 2**20,
    COVERAGE: 64 * 2**20,
    COVERAGE_HONOURED: 64 * 2**20,
}
CACHE = "/tmp/vsc-pytest-cache"  # noqa: S108 -- the sandbox's private tmpfs
"""Of pytest, which some plugins want (pytest-memray): nothing of it lies in the tree."""
_LAY_MADE = "made"
"""The tool that lays what the build made into the workspace."""
REORDERING_PLUGINS = frozenset(
    {"randomly", "random_order", "xdist", "xdist.looponfail", "pytest_cov", "cov"}
)
"""Installed plugins that are not loaded.

They shuffle, distribute or measure, which is the judge's own business.
"""


def base_configuration(change: Change, environment: Environment) -> PytestConfiguration:
    """The project's pytest configuration, from base."""
    contents = {
        path: change.base_contents[path] for path in CONFIGURATION if path in change.base_contents
    }
    return read(contents, environment.pytest_plugins)


def stage_of_tests(
    change: Change,
    environment: Environment,
    stage: Stage,
    tree: TreeRecipe,
    *,
    only: tuple[str, ...] = (),
) -> StagePlan:
    """The whole suite, or the files in `only`.

    Facts of the project come from base, so that all stages run alike.
    """
    configuration = base_configuration(change, environment)
    where = layout(change.base_python.modules)
    # Only head may have moved its tests; every other stage has base's, or names its files.
    present = change.head_tree if stage is Stage.HEAD else change.base_tree
    paths = [f"{WORKSPACE}/{path}" for path in only] or _targets(configuration, present)
    return StagePlan(
        stage=stage,
        tree=tree,
        tools=_tools(environment, where),
        outputs=OUTPUTS,
        deadline_s=TESTS_TIMEOUT_S + 2 * REPORT_TIMEOUT_S,
        inputs=_inputs(configuration, where, environment, paths),
        needs_environment=True,
    )


def _targets(configuration: PytestConfiguration, tree: Mapping[str, str]) -> list[str]:
    """What pytest is asked to collect.

    The configured paths that exist in the tree, else everything.
    """
    folders = {parent for path in tree for parent in _parents(path)} | set(tree)
    found: list[str] = []
    for pattern in configuration.testpaths:
        found += (
            sorted(name for name in folders if _matches(name, pattern)) if pattern != "." else [""]
        )
    return [f"{WORKSPACE}/{name}".rstrip("/") for name in dict.fromkeys(found)] or [WORKSPACE]


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or (
        fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
    )


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _environ(where: Layout) -> dict[str, str]:
    """`PYTHONPATH` is for the children of tests.

    Our own interpreter runs isolated and ignores it.
    """
    return {
        "PATH": f"{ENV}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 -- the sandbox's private tmpfs
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": ":".join(where.roots),
        "CI": "true",
    }


def _tools(environment: Environment, where: Layout) -> tuple[ToolRun, ...]:
    python = (environment.python, "-I", "-B")
    environ = _environ(where)
    tests = ToolRun(
        "pytest",
        (*python, f"{JUDGE}/run_tests.py", f"{JUDGE}/run.json"),
        TESTS_TIMEOUT_S,
        environ,
        cwd=WORKSPACE,
        after=(_LAY_MADE,) if environment.made else (),
    )
    # Nothing that the tree has is overwritten.
    lay = ("/bin/cp", "--recursive", "--no-clobber", "--no-dereference", f"{MADE}/.", WORKSPACE)
    return (
        tests,
        *((ToolRun(_LAY_MADE, lay, REPORT_TIMEOUT_S, environ),) if environment.made else ()),
        _coverage_json(
            python, environ, "coverage", f"{JUDGE}/coveragerc", COVERAGE, after="pytest"
        ),
        _coverage_json(
            python,
            environ,
            "coverage-pragmas",
            f"{JUDGE}/coveragerc-pragmas",
            COVERAGE_HONOURED,
            after="coverage",
        ),
    )


def _coverage_json(
    python: tuple[str, ...], environ: dict[str, str], name: str, rc: str, output: str, *, after: str
) -> ToolRun:
    argv = (
        *python,
        "-m",
        "coverage",
        "json",
        f"--rcfile={rc}",
        f"--data-file={OUT}/{DATA}",
        "-q",
        "-o",
        f"{OUT}/{output}",
    )
    return ToolRun(name, argv, REPORT_TIMEOUT_S, environ, after=(after,))


def _inputs(
    configuration: PytestConfiguration, where: Layout, environment: Environment, paths: list[str]
) -> dict[str, bytes]:
    measured = (*where.roots, f"{JUDGE}/never")
    return {
        **{f"{JUDGE}/{name}": trusted.plugin_file(name) for name in trusted.PLUGIN_FILES},
        f"{JUDGE}/coveragerc": trusted.coveragerc(measured, honour_pragmas=False).encode(),
        f"{JUDGE}/coveragerc-pragmas": trusted.coveragerc(measured, honour_pragmas=True).encode(),
        f"{JUDGE}/pytest.ini": configuration.ini().encode(),
        f"{JUDGE}/run.json": json.dumps(
            _run(configuration, where, environment, paths), sort_keys=True
        ).encode(),
    }


def _run(
    configuration: PytestConfiguration, where: Layout, environment: Environment, paths: list[str]
) -> dict[str, object]:
    return {
        "plugin": f"{JUDGE}/vsc_judge.py",
        "equals": f"{JUDGE}/vsc_equals.py",
        "report": f"{OUT}/{SESSION}",
        "workspace": WORKSPACE,
        "modules": list(where.modules),
        "pythonpath": [*(_absolute(configuration.pythonpath)), *where.roots],
        "coveragerc": f"{JUDGE}/coveragerc",
        "coverage_data": f"{OUT}/{DATA}",
        "pytest_plugins": [
            name for name in environment.pytest_plugins if name not in REORDERING_PLUGINS
        ],
        "pytest_args": [
            "-c", f"{JUDGE}/pytest.ini", f"--rootdir={WORKSPACE}", f"--confcutdir={WORKSPACE}",
            "-o", f"cache_dir={CACHE}", "--color=no", "-q",
            "--continue-on-collection-errors", "--tb=short",
            f"--junitxml={OUT}/{JUNIT}", *configuration.options, *paths,
            f"{JUDGE}/canary/vsc_canary.py",
        ],
    }  # fmt: skip


def _absolute(paths: tuple[str, ...]) -> list[str]:
    return [WORKSPACE if path == "." else f"{WORKSPACE}/{path}" for path in paths]


def command_line(plan: StagePlan) -> str:
    """For people: how the tests were called."""
    return shlex.join(plan.tools[0].argv)

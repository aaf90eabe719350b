"""The values of judging.

Verdicts, findings, reports, and the evidence they are made of (DESIGN section 7).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from quality_gates.python_tree import PythonTree
from quality_gates.toolrun import ToolRun


class Verdict(StrEnum):
    """Declared from good to bad; the worst gate is the task's."""

    PASSED = "passed"
    FLAKY = "flaky"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERRORED = "errored"
    TAMPERED = "tampered"


class Stage(StrEnum):
    """The judge's sandboxes; each is fresh, and each test run has its own."""

    STATIC = "static"
    HEAD = "head"
    HEAD_AGAIN = "head-again"
    BASE_COPIES = "base-copies"
    BASE_COPIES_AGAIN = "copies-again"
    NEW_ON_BASE = "new-on-base"
    BASE_STATIC = "base-static"
    BASE = "base"


class Severity(StrEnum):
    """Declared from mild to grave, as bandit and semgrep name them."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class SecurityLevel(StrEnum):
    """The packet's `security_level`.

    LOW blocks new HIGH findings, MEDIUM also MEDIUM ones, HIGH and CRITICAL any.
    """

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class TaskType(StrEnum):
    """SPEC section 4.3."""

    FEATURE = "FEATURE"
    BUGFIX = "BUGFIX"
    REFACTOR = "REFACTOR"
    TEST_ONLY = "TEST_ONLY"


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What the task asks of a change.

    An empty `gates` means all: there is no way to ask for none.
    """

    task_type: TaskType = TaskType.FEATURE
    coverage_minimum: float = 0.8
    security_level: SecurityLevel = SecurityLevel.MEDIUM
    linting_rules: str = "project"
    testing_requirements: tuple[str, ...] = ()
    test_changes_allowed: bool = False
    dependency_changes_allowed: bool = False
    gates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that differs between base and head. A rename is a deletion and an addition."""

    path: str
    base_mode: str | None
    """git's mode (`100644`, `100755`, `120000`) or None: not there."""
    head_mode: str | None
    base_blob: str | None
    head_blob: str | None
    added_lines: tuple[int, ...] = ()
    """Line numbers at head (from 1) that the change added or altered.

    Empty for binary files and deletions.
    """
    removed_lines: tuple[int, ...] = ()
    """Line numbers at base."""
    binary: bool = False


@dataclass(frozen=True)
class Change:
    """What is judged: the files that differ, both listings, and what is small enough to read."""

    base_commit: str
    patch_sha256: str
    files: tuple[FileChange, ...]
    base_tree: Mapping[str, str]
    """Every path at base -> git's mode."""
    head_tree: Mapping[str, str]
    base_contents: Mapping[str, bytes]
    """Contents at base, under every name by which a reader opens them (links are followed).

    Of the changed paths, of what a link newly leads to, and of the tool configuration
    (`quality_gates.paths.CONFIGURATION`).
    """
    head_contents: Mapping[str, bytes]
    base_links: Mapping[str, str] = field(default_factory=dict)
    """Every link at base -> its text."""
    head_links: Mapping[str, str] = field(default_factory=dict)
    base_dependencies: Mapping[str, bytes] = field(default_factory=dict)
    """What `quality_gates.dependencies` reads at base: name -> contents."""
    head_dependencies: Mapping[str, bytes] = field(default_factory=dict)
    refused_entries: tuple[str, ...] = ()
    """What dehydrate would not take, each with its reason.

    Non-empty: there is no patch and the task has failed.
    """

    @cached_property
    def base_python(self) -> PythonTree:
        """What of base is Python."""
        return PythonTree(self.base_tree, self.base_links, self.base_contents)

    @cached_property
    def head_python(self) -> PythonTree:
        """What of head is Python."""
        return PythonTree(self.head_tree, self.head_links, self.head_contents)


@dataclass(frozen=True, slots=True)
class ToolEvidence:
    """How one tool ended, as the sandbox said (untrusted), and where its raw output lies."""

    exit_code: int | None
    timed_out: bool
    duration_s: float
    truncated: bool
    argv: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StageEvidence:
    """What came back from one of the judge's sandboxes.

    `ended` is the provider's word; all else is the sandbox's.
    """

    stage: Stage
    ended: str
    """`sandboxes.spec.Ended`, as text."""
    detail: str
    exit_code: int | None
    tools: Mapping[str, ToolEvidence]
    outputs: Mapping[str, Path]
    """Output name -> a local file, size already capped; hostile content."""
    events: tuple[Mapping[str, Any], ...] | Path | None
    """The `tests` stream: events in order, or a local file with one on each line (hostile).

    None: it is broken (a gap, past its cap).
    """
    said: str = ""
    """The end of its standard error, for people (hostile)."""
    altered: tuple[str, ...] = ()
    """Tracked files of the judged tree whose bytes differ after the run.

    Ours to say: they are read when the sandbox is dead.
    """
    altered_unknown: str = ""
    """Why more may be altered than `altered` names; empty: it names all."""
    limits_hit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """The archive at `/env` and what prepare wrote down about it.

    Facts computed from the archive, not claimed.
    """

    sha256: str
    image: str
    python: str
    """Absolute path of the project's interpreter inside the sandbox."""
    own_pytest: bool
    pytest_plugins: tuple[str, ...]
    """`pytest11` entry points, listed at prepare: the judge loads these, and no other."""
    installed: Mapping[str, str] = field(default_factory=dict)
    """Distribution -> version."""
    notes: tuple[str, ...] = ()
    python_version: tuple[int, int] | None = None
    """Of the interpreter, as its folder of packages says; None: nothing is installed."""
    made: tuple[str, ...] = ()
    """What the build of base wrote into the tree: it lies in each test's workspace too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a tool says of one place."""

    rule: str
    severity: Severity
    path: str
    line: int
    message: str
    fingerprint: str
    """Stable between base and head: rule, path, normalised snippet, occurrence."""
    new: bool
    blocks: bool
    cwe: str | None = None
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class GateReport:
    """What one gate found.

    `applicable` False needs its reason, and the report is left out of the task's verdict.
    """

    gate: str
    verdict: Verdict
    reasons: tuple[str, ...]
    applicable: bool = True
    findings: tuple[Finding, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Figures and lists that prove the reasons.

    Counts, ids, coverage, scanned against expected files...
    """
    notes: tuple[str, ...] = ()
    """What is shown and does not decide.

    What base failed already, protected paths that changed, attempts that had no effect.
    """
    tool: str | None = None
    tool_version: str | None = None
    configuration_sha256: str | None = None
    command: tuple[str, ...] = ()
    exit_code: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class TaskReport:
    """All gates of one judged patch."""

    verdict: Verdict
    gates: tuple[GateReport, ...]
    base_commit: str
    patch_sha256: str
    image: str
    environment_sha256: str
    policy: GatePolicy
    notes: tuple[str, ...] = ()
    again: tuple[Stage, ...] = ()
    """Stages that must run before a few failed tests are believed; they have not run yet."""
    base_trouble: str = ""
    """Why base could not be tested; then nothing here is the patch's fault. Empty: it could."""


@dataclass(frozen=True, slots=True)
class TreeRecipe:
    """Which files a stage sees.

    All of one side, except the paths in `swapped`, which come from the other.

    A swapped path that the other side does not have is left out of the tree.
    """

    side: str
    """`base` or `head`."""
    swapped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One of the judge's sandboxes: the tree, the tools, and the files that are wanted back."""

    stage: Stage
    tree: TreeRecipe
    tools: tuple[ToolRun, ...]
    outputs: Mapping[str, int]
    """Output name -> its byte limit."""
    deadline_s: float
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    """Absolute path under `/vsc` -> contents: trusted configuration, file lists."""
    needs_environment: bool = False
    """Whether `/env` is mounted: only for stages that execute repository code."""

"""A task's report as Markdown, for people.

Text that comes from the judged tree cannot become markup.
"""

import re
from collections.abc import Mapping, Sequence

from quality_gates.advice import next_step
from quality_gates.model import Finding, GateReport, TaskReport, Verdict

MAX_ROWS = 50
_SUMMARY_CHARACTERS = 200
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def render(report: TaskReport) -> str:
    """The verdict first, then a line per gate, then what each gate has to say."""
    rows = [
        f"# Verdict: {report.verdict}",
        "",
        *_base_trouble(report),
        *_facts(report),
        "",
        "| gate | verdict | why |",
        "|---|---|---|",
    ]
    rows += [
        f"| {_safe(gate.gate)} | {_word(gate)} | {_safe(_summary(gate))} |" for gate in report.gates
    ]
    for gate in report.gates:
        rows += _section(gate)
    if report.notes:
        rows += ["", "## Notes", "", *(f"- {_safe(note)}" for note in report.notes)]
    return "\n".join(rows) + "\n"


def _base_trouble(report: TaskReport) -> list[str]:
    if not report.base_trouble:
        return []
    return [f"**Base could not be tested:** {_safe(report.base_trouble)}", ""]


def _facts(report: TaskReport) -> list[str]:
    policy = report.policy
    allowed = [
        name
        for name, yes in (
            ("test", policy.test_changes_allowed),
            ("dependency", policy.dependency_changes_allowed),
        )
        if yes
    ]
    return [
        f"- base `{_code(report.base_commit)}`, patch sha256 `{_code(report.patch_sha256)}`",
        f"- image `{_code(report.image)}`, environment sha256 `{_code(report.environment_sha256)}`",
        (
            f"- {policy.task_type}, changed lines covered at least {policy.coverage_minimum:.0%}, "
            f"security level {policy.security_level}, "
            f"lint {_safe(policy.linting_rules)}, "
            f"allowed changes beyond the product: {', '.join(allowed) or 'none'}"
        ),
    ]


def _word(gate: GateReport) -> str:
    return str(gate.verdict) if gate.applicable else "not applicable"


def _summary(gate: GateReport) -> str:
    if not gate.reasons:
        return _figures(gate)
    more = f" (and {len(gate.reasons) - 1} more)" if len(gate.reasons) > 1 else ""
    first = gate.reasons[0]
    return (
        first if len(first) <= _SUMMARY_CHARACTERS else first[:_SUMMARY_CHARACTERS] + "…"
    ) + more


def _figures(gate: GateReport) -> str:
    """What a gate without a complaint has looked at."""
    evidence = gate.evidence
    if isinstance(head := evidence.get("head"), Mapping) and isinstance(
        base := evidence.get("base"), Mapping
    ):
        return f"{head.get('passed', 0)} tests pass, {base.get('passed', 0)} on base"
    if isinstance(lines := evidence.get("changed_lines"), Mapping):
        return f"{lines.get('executed')} of {lines.get('executable')} changed lines run in tests"
    if isinstance(scanned := evidence.get("expected"), Sequence):
        return f"{len(scanned)} changed files, nothing new"
    return ""


def _section(gate: GateReport) -> list[str]:
    findings = [finding for finding in gate.findings if finding.new]
    if not (
        gate.notes
        or findings
        or len(gate.reasons) > 1
        or (gate.applicable and gate.verdict is not Verdict.PASSED)
    ):
        return []
    rows = ["", f"## {_safe(gate.gate)}: {_word(gate)}", ""]
    rows += _listed([_safe(reason) for reason in gate.reasons])
    if gate.applicable and (step := next_step(gate.gate, gate.verdict)):
        rows.append(f"- **next:** {step}")
    rows += _listed([f"note: {_safe(note)}" for note in gate.notes])
    rows += _listed([_finding(finding) for finding in findings])
    return rows


def _finding(finding: Finding) -> str:
    where = f"`{_code(finding.path)}:{finding.line}`"
    marks = "".join(
        [
            ", blocks" if finding.blocks else "",
            ", suppressed in the file" if finding.suppressed else "",
        ]
    )
    return (
        f"{where} {_safe(finding.rule)} ({finding.severity}{marks}): {_safe(finding.message[:300])}"
    )


def _listed(texts: list[str]) -> list[str]:
    rows = [f"- {text}" for text in texts[:MAX_ROWS]]
    return rows + ([f"- and {len(texts) - MAX_ROWS} more"] if len(texts) > MAX_ROWS else [])


def _safe(text: str) -> str:
    return (
        _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", text)).encode("utf-8", "backslashreplace").decode()
    )


def _code(text: str) -> str:
    return (
        _CONTROL.sub(" ", text)
        .replace("`", "'")
        .replace("|", "/")
        .encode("utf-8", "backslashreplace")
        .decode()
    )

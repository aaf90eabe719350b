"""A report as SARIF 2.1.0 (OASIS), which code hosts and editors read."""

import json
from urllib.parse import quote

from quality_gates.model import TaskReport
from quality_gates.render.remarks import Remark, remarks

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def render(report: TaskReport) -> str:
    """One run of one tool; a result for each remark."""
    found = remarks(report)
    rules = sorted({_rule(remark) for remark in found})
    document = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "vsc", "rules": [{"id": rule} for rule in rules]}},
                "results": [_result(remark, rules) for remark in found],
                "properties": {"verdict": str(report.verdict)},
            }
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _rule(remark: Remark) -> str:
    return f"{remark.gate}/{remark.rule}"


def _result(remark: Remark, rules: list[str]) -> dict[str, object]:
    result: dict[str, object] = {
        "ruleId": _rule(remark),
        "ruleIndex": rules.index(_rule(remark)),
        "level": str(remark.level),
        "message": {"text": remark.message or remark.rule},
    }
    if remark.path is not None:
        place = {
            "artifactLocation": {"uri": quote(remark.path), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": remark.line},
        }
        result["locations"] = [{"physicalLocation": place}]
    if remark.fingerprint:
        result["partialFingerprints"] = {"vscFinding/v1": remark.fingerprint}
    return result

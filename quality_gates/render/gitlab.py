"""A report as GitLab's code quality artifact.

The form: docs.gitlab.com, "Code Quality", code quality report format.
"""

import hashlib
import json

from quality_gates.model import Severity, TaskReport
from quality_gates.render.remarks import Level, Remark, remarks

_SEVERITY = {Severity.LOW: "minor", Severity.MEDIUM: "major", Severity.HIGH: "critical"}
WHOLE_CHANGE = "."
"""GitLab wants a path of everything."""


def render(report: TaskReport) -> str:
    """An array with an entry for each remark."""
    return json.dumps([_entry(remark) for remark in remarks(report)], indent=2) + "\n"


def _entry(remark: Remark) -> dict[str, object]:
    name = f"{remark.gate}/{remark.rule}"
    return {
        "description": f"{name}: {remark.message}",
        "check_name": name,
        "fingerprint": remark.fingerprint or _fingerprint(name, remark.message),
        "severity": _severity(remark),
        "location": {
            "path": remark.path or WHOLE_CHANGE,
            "lines": {"begin": remark.line or 1},
        },
    }


def _severity(remark: Remark) -> str:
    if remark.level is Level.NOTE:
        return "info"
    if remark.severity is not None:
        return _SEVERITY[remark.severity]
    return "blocker" if remark.level is Level.ERROR else "major"


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

"""A report as GitHub's workflow commands: annotations on the lines of a pull request.

The form: docs.github.com, "Workflow commands for GitHub Actions", setting messages.
"""

from quality_gates.model import TaskReport, Verdict
from quality_gates.render.remarks import Level, Remark, remarks

_COMMAND = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def render(report: TaskReport) -> str:
    """A line for the verdict, then one for each remark."""
    level = Level.NOTE if report.verdict is Verdict.PASSED else Level.ERROR
    verdict = Remark("vsc", "verdict", level, str(report.verdict))
    return "".join(f"{_line(remark)}\n" for remark in (verdict, *remarks(report)))


def _line(remark: Remark) -> str:
    properties = {"title": f"{remark.gate} {remark.rule}"}
    if remark.path is not None:
        properties = {"file": remark.path, "line": str(remark.line), **properties}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_COMMAND[remark.level]} {listed}::{_data(remark.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

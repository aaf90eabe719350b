"""A report as JUnit's XML, which every CI shows: a test case for each gate."""

import xml.etree.ElementTree as ET

from quality_gates.model import GateReport, TaskReport, Verdict
from quality_gates.render.remarks import plain


def render(report: TaskReport) -> str:
    """One suite. A refusal is a failure, what could not be found out an error."""
    suite = ET.Element("testsuite", {"name": "vsc", **_counts(report)})
    for gate in report.gates:
        suite.append(_case(gate))
    if report.base_trouble:
        trouble = f"base could not be tested: {plain(report.base_trouble)}"
        ET.SubElement(suite, "system-err").text = trouble
    root = ET.Element("testsuites", {"name": f"vsc: {report.verdict}"})
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(report: TaskReport) -> dict[str, str]:
    kinds = [_kind(gate) for gate in report.gates]
    return {
        "tests": str(len(kinds)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
    }


def _kind(gate: GateReport) -> str:
    if not gate.applicable:
        return "skipped"
    if gate.verdict is Verdict.PASSED:
        return ""
    return "failure" if gate.verdict in (Verdict.FAILED, Verdict.TAMPERED) else "error"


def _case(gate: GateReport) -> ET.Element:
    case = ET.Element("testcase", {"classname": "vsc", "name": gate.gate})
    if gate.duration_s is not None:
        case.set("time", f"{gate.duration_s:.3f}")
    if kind := _kind(gate):
        reasons = [plain(reason) for reason in gate.reasons]
        told = ET.SubElement(case, kind, {"message": reasons[0] if reasons else str(gate.verdict)})
        told.text = "\n".join(reasons)
    return case

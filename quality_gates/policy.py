"""Many gate reports become one verdict."""

from collections.abc import Iterable

from quality_gates.model import GateReport, Verdict

SEVERITY = list(Verdict)  # declared from good to bad


def overall(reports: Iterable[GateReport]) -> Verdict:
    """The worst report wins.

    No applicable report at all counts as a broken gate, never as a pass.
    """
    judged = (report.verdict for report in reports if report.applicable)
    return max(judged, key=SEVERITY.index, default=Verdict.ERRORED)

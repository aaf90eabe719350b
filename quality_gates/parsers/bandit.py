"""bandit's JSON."""

import re

from quality_gates.model import Severity
from quality_gates.parsers.reading import (
    guarded,
    integer,
    json_document,
    mapping,
    path_text,
    sequence,
    text,
)
from quality_gates.parsers.scans import Hit, Scan

_TOTALS = "_totals"
_PASSWORD = re.compile(r"(Possible hardcoded password: ).*", re.DOTALL)
"""B105 to B107 quote what they found; a report is read by more people than the code."""


@guarded
def parse(content: bytes) -> Scan:
    """Findings, the files it counted lines of, and the files it could not parse.

    Its exit code hides them.
    """
    document = mapping(json_document(content))
    hits = []
    for row in map(mapping, sequence(document["results"])):
        cwe = mapping(row.get("issue_cwe") or {}).get("id")
        hits.append(
            Hit(
                rule=text(row["test_id"], 100),
                severity=_severity(row["issue_severity"]),
                path=path_text(row["filename"]),
                line=integer(row["line_number"]),
                message=_PASSWORD.sub(r"\1(hidden)", text(row["issue_text"])),
                cwe=f"CWE-{integer(cwe)}" if cwe is not None else None,
            )
        )
    errors = [
        (path_text(row["filename"]), text(row["reason"]))
        for row in map(mapping, sequence(document["errors"]))
    ]
    scanned = frozenset(path_text(name) for name in mapping(document["metrics"]) if name != _TOTALS)
    return Scan(tuple(hits), scanned, tuple(errors))


def _severity(value: object) -> Severity:
    """Bandit's own UNDEFINED is taken as LOW: shown, and blocking only where everything blocks."""
    name = text(value, 20).upper()
    return Severity.LOW if name == "UNDEFINED" else Severity(name)

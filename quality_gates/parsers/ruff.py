"""ruff's JSON."""

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

SYNTAX = "invalid-syntax"
_UNREADABLE = "E902"


@guarded
def parse(content: bytes) -> Scan:
    """Findings; a syntax error is one of them, a file that could not be read is an error."""
    hits: list[Hit] = []
    errors: list[tuple[str, str]] = []
    for row in map(mapping, sequence(json_document(content))):
        rule = SYNTAX if row.get("code") is None else text(row["code"], 100)
        path, message = path_text(row["filename"]), text(row["message"])
        line = integer(mapping(row["location"])["row"])
        if rule == _UNREADABLE:
            errors.append((path, message))
        else:
            severity = Severity.HIGH if rule == SYNTAX else Severity.MEDIUM
            noqa = row.get("noqa_row")
            mark_line = None if noqa is None else integer(noqa)
            hits.append(Hit(rule, severity, path, line, message, mark_line=mark_line))
    return Scan(tuple(hits), None, tuple(errors))

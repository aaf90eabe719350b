"""semgrep's JSON, of both of its engines."""

from collections.abc import Mapping

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

_SEVERITY = {"ERROR": Severity.HIGH, "WARNING": Severity.MEDIUM, "INFO": Severity.LOW,
             "CRITICAL": Severity.HIGH, "HIGH": Severity.HIGH, "MEDIUM": Severity.MEDIUM,
             "LOW": Severity.LOW}  # fmt: skip


@guarded
def parse(content: bytes) -> Scan:
    """Findings, the files it says it scanned, every error and warning, partial parsing included."""
    document = mapping(json_document(content))
    hits = []
    for row in map(mapping, sequence(document["results"])):
        extra = mapping(row["extra"])
        hits.append(
            Hit(
                rule=text(row["check_id"], 300).rpartition(".")[2],
                severity=_SEVERITY[text(extra["severity"], 20).upper()],
                path=path_text(row["path"]),
                line=integer(mapping(row["start"])["line"]),
                message=text(extra["message"]),
                cwe=_cwe(mapping(extra.get("metadata") or {}).get("cwe")),
            )
        )
    errors = [
        (_error_path(row), text(row.get("message", "")))
        for row in map(mapping, sequence(document["errors"]))
    ]
    errors += [
        ("", f"a rule was skipped: {str(rule)[:200]}")
        for rule in sequence(document.get("skipped_rules") or [])
    ]
    scanned = frozenset(path_text(name) for name in sequence(mapping(document["paths"])["scanned"]))
    version = document.get("version")
    return Scan(
        tuple(hits), scanned, tuple(errors), text(version, 50) if version is not None else None
    )


def _cwe(value: object) -> str | None:
    first = value[0] if isinstance(value, list) and value else value
    return text(first, 200).partition(":")[0] if isinstance(first, str) else None


def _error_path(row: Mapping[str, object]) -> str:
    path = row.get("path")
    return path_text(path) if path else ""

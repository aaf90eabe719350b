"""detect-secrets' JSON: hashes of secrets, never the secrets."""

from quality_gates.model import Severity
from quality_gates.parsers.reading import guarded, integer, json_document, mapping, path_text, sequence, text
from quality_gates.parsers.scans import Hit, Scan


@guarded
def parse(content: bytes) -> Scan:
    """Findings by file, relative to the directory that the tool ran in."""
    document = mapping(json_document(content))
    hits = []
    for name, rows in mapping(document["results"]).items():
        for row in map(mapping, sequence(rows)):
            kind = text(row["type"], 100)
            hashed = text(row["hashed_secret"], 100)
            hits.append(
                Hit(
                    kind,
                    Severity.HIGH,
                    path_text(name),
                    integer(row["line_number"]),
                    f"looks like a secret: {kind}",
                    secret=hashed,
                )
            )
    return Scan(tuple(hits), None, (), text(document["version"], 50))

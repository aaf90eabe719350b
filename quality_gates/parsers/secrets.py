"""What our search with detect-secrets found: hashes of secrets, never the secrets."""

from quality_gates.model import Severity
from quality_gates.parsers.reading import (
    ParseError,
    guarded,
    integer,
    json_document,
    mapping,
    path_text,
    sequence,
    text,
)
from quality_gates.parsers.scans import Hit, Scan

CALLED = "Secret Keyword"
"""What is called a password, a token or a key, whatever it looks like."""
RANDOM = frozenset({"Base64 High Entropy String", "Hex High Entropy String"})
"""What looks random, whatever it is called."""
ORDINARY = frozenset({"Basic Auth Credentials", "JSON Web Token", "Public IP (ipv4)"})
"""Forms that anybody can make up, and many a test must.

All other kinds of detect-secrets are a provider's own form, or a private key.
"""


@guarded
def parse(content: bytes) -> Scan:
    """Findings, the files that were searched, and those that could not be."""
    document = mapping(json_document(content))
    hits = [
        _hit(path_text(name), mapping(row))
        for name, rows in mapping(document["results"]).items()
        for row in sequence(rows)
    ]
    scanned = frozenset(path_text(name) for name in sequence(document["scanned"]))
    errors = tuple(
        (path_text(path), text(problem))
        for path, problem in map(sequence, sequence(document["errors"]))
    )
    return Scan(tuple(hits), scanned, errors, text(document["version"], 50))


def _hit(path: str, row: object) -> Hit:
    fields = mapping(row)
    allowed = fields["allowed"]
    if not isinstance(allowed, bool):
        raise ParseError("expected true or false")
    kind, line = text(fields["type"], 100), integer(fields["line_number"])
    message = f"looks like a secret: {kind}" + (", allow-listed in the file" if allowed else "")
    return Hit(
        kind,
        Severity.HIGH,
        path,
        line,
        message,
        secret=text(fields["hashed_secret"], 100),
        allowed=allowed,
    )

"""The canonical form of a packet (RFC 8785) and its hash: the same document, the same bytes.

Pure.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785


def canonical_bytes(document: Mapping[str, Any]) -> bytes:
    """The document in canonical form: sorted keys, one spelling of each value, no white space."""
    return rfc8785.dumps(dict(document))


def packet_sha256(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical form."""
    return hashlib.sha256(canonical_bytes(document)).hexdigest()

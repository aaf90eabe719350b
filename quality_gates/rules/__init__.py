"""Our own semgrep rules, as one pack.

What the `semgrep` gate hands to the sandbox, and the hash that its report carries.
"""

import hashlib
from pathlib import Path

_HERE = Path(__file__).parent
_LANGUAGES = ("python",)


def pack() -> dict[str, bytes]:
    """Every rule file, as `<language>/<topic>.yaml` -> its contents, in the order of the names."""
    files = (path for language in _LANGUAGES for path in (_HERE / language).glob("*.yaml"))
    return {path.relative_to(_HERE).as_posix(): path.read_bytes() for path in sorted(files)}


def pack_sha256() -> str:
    """The identity of the pack: sha256 over each name, its length in bytes, and its contents."""
    digest = hashlib.sha256()
    for name, contents in pack().items():
        digest.update(f"{name}\0{len(contents)}\0".encode())
        digest.update(contents)
    return digest.hexdigest()

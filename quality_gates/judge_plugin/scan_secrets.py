# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202 -- a program of its own
# It runs in the tools' interpreter of the judge's image, where detect-secrets is; ours has none.
"""Every file through detect-secrets, with nothing that the file says about itself believed.

Called by its own command line, detect-secrets stops at an empty file, skips a file with one byte
that is not UTF-8 or with the name of a picture, obeys comments, and does not say what it read. So
each file is shown to it as a copy of the same name, without the comments' magic words, decoded as
far as it goes.

Usage: python -I scan_secrets.py OUTPUT FILE...
"""

import codecs
import json
import os
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from detect_secrets.__version__ import VERSION
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import default_settings, get_settings

ALLOWS = re.compile(r"pragma(\s*:\s*(?:allow|white)list[ -](?:nextline[ -])?secret)", re.IGNORECASE)
NOT_HONOURED = (
    "detect_secrets.filters.heuristic.is_non_text_file",
    "detect_secrets.filters.allowlist.is_line_allowlisted",
)
WORDS = re.compile(rb"[\t\x20-\x7e]{6,}")
WORKSPACE = "/workspace/"


def main(argv):
    """Scan and write the report; a file that cannot be read is an error in it."""
    output, files = argv[1], argv[2:]
    with ProcessPoolExecutor(max_workers=2) as pool:
        rows = list(pool.map(scan, files, chunksize=16))
    report = {
        "version": VERSION,
        "results": {path: hits for path, hits, problem in rows if hits},
        "scanned": [path for path, hits, problem in rows if problem is None],
        "errors": [[path, problem] for path, hits, problem in rows if problem is not None],
    }
    Path(output).write_text(json.dumps(report), encoding="utf-8")
    return 0


def scan(path):
    """(path, hits, what went wrong)."""
    try:
        hits = _hits(path, _text(Path(path).read_bytes()))
    except Exception as error:  # noqa: BLE001 -- whatever a hostile file brings about is an error of this file alone
        return path, [], f"{type(error).__name__}: {error}"[:500]
    return path, hits, None


def _text(content):
    """What the bytes say to people. A NUL ends a word: it must not hide what stands beside it."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    pairs = content[: 2 * (len(content[:8192]) // 2)]
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if pairs and pairs[parity::2].count(0) > 0.9 * len(pairs) / 2:
            return content.decode(encoding, "replace")
    if b"\0" in content:  # of what is no text, the words in it
        content = b"\n".join(b" ".join(WORDS.findall(line)) for line in content.split(b"\n"))
    return content.decode("utf-8", "replace")


def _hits(path, text):
    lines = text.split("\n")
    with tempfile.TemporaryDirectory() as folder, default_settings():
        get_settings().disable_filters(*NOT_HONOURED)
        copy = Path(folder) / os.path.relpath(path, WORKSPACE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(ALLOWS.sub(r"comment\1", text), encoding="utf-8", newline="\n")
        found = {
            (secret.type, secret.secret_hash, secret.line_number) for secret in scan_file(str(copy))
        }
    return [
        {
            "type": kind,
            "hashed_secret": hashed,
            "line_number": line,
            "allowed": _allowed(lines, line),
        }
        for kind, hashed, line in sorted(found, key=lambda row: (row[2], row[0], row[1]))
    ]


def _allowed(lines, number):
    """Whether a comment on the line, or on the one before, asks to look away."""
    return any(ALLOWS.search(line) for line in lines[max(0, number - 2) : number])


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""Marks in a file that ask a tool, or a test run, to look away.

Counted by kind at base and at head.
"""

import re
from collections import Counter

from quality_gates.model import Change
from quality_gates.paths import is_regular
from quality_gates.selection import is_only_a_test

KINDS: dict[str, re.Pattern[bytes]] = {
    "nosec": re.compile(rb"#.{0,200}\bnosec\b", re.IGNORECASE),
    "nosemgrep": re.compile(rb"(#|//).{0,200}\bno-?sem(grep)?\b", re.IGNORECASE),
    "noqa": re.compile(rb"#.{0,200}\bnoqa\b", re.IGNORECASE),
    "ruff: disable": re.compile(rb"#\s{0,20}ruff:\s{0,20}(disable|ignore)", re.IGNORECASE),
    "type: ignore": re.compile(
        rb"#\s{0,20}(type|pyright|mypy|ty|pyre-ignore|pyre-fixme|pylint)\s{0,20}[:=\[]\s{0,20}(ignore|disable)"
    ),
    "pragma: no cover": re.compile(
        rb"#.{0,200}pragma\s{0,20}:?\s{0,20}no\s{0,20}(cover|branch)", re.IGNORECASE
    ),
    "skip or xfail": re.compile(
        rb"\bmark\s{0,9}\.\s{0,9}(skip|skipif|xfail)\b|\bpytest\s{0,9}\.\s{0,9}(skip|xfail|importorskip|exit)\s{0,9}\("
        rb"|\b(unittest\.)?(skipIf|skipUnless|SkipTest|expectedFailure)\b|\bunittest\.skip\b|\b__test__\s{0,9}=\s{0,9}False\b"
        rb"|\bcollect_ignore(_glob)?\b"
    ),
    "allowlist secret": re.compile(
        rb"pragma\s{0,20}:\s{0,20}(allow|white)list[ -](nextline[ -])?secret", re.IGNORECASE
    ),
}
MAX_LINE_BYTES = 20_000


def counts(content: bytes) -> Counter[str]:
    """Lines of a file that hold each kind of mark."""
    found: Counter[str] = Counter()
    for line in content.split(b"\n"):
        for kind, pattern in KINDS.items():
            found[kind] += pattern.search(line[:MAX_LINE_BYTES]) is not None
    return +found


def growth(change: Change, *, tests: bool | None = None) -> dict[str, tuple[int, int]]:
    """Kind -> (at base, at head), over the changed files, for the kinds that grew.

    `tests` True or False: only those files.
    """
    base: Counter[str] = Counter()
    head: Counter[str] = Counter()
    for file in change.files:
        if file.binary or (tests is not None and is_only_a_test(change, file.path) is not tests):
            continue
        if is_regular(file.base_mode):
            base += counts(change.base_contents.get(file.path, b""))
        if is_regular(file.head_mode):
            head += counts(change.head_contents.get(file.path, b""))
    return {kind: (base[kind], head[kind]) for kind in KINDS if head[kind] > base[kind]}

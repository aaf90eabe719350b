"""Findings of head compared with those of base by a fingerprint that survives moved lines.

What was there before is not blamed.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from quality_gates.model import Change, Finding
from quality_gates.parsers.scans import Hit

Snippet = tuple[str, str]
"""Rule, and the line's text with its blanks folded."""


def compare(
    change: Change,
    head: Iterable[Hit],
    base: Iterable[Hit],
    *,
    blocks: Callable[[Hit], bool],
    by_message: bool = False,
) -> tuple[Finding, ...]:
    """Head's hits as findings, new or not. Hits carry repository paths.

    A hit is old when base has it in the same file, or in lines that the patch takes out of another
    (moved code). `by_message` also takes one as old whose line was edited while rule and message
    stayed: right only where messages name what they are about.
    """
    known = _Known(change, list(base))
    found: list[Finding] = []
    seen: Counter[tuple[str, Snippet]] = Counter()
    rest: list[tuple[Hit, str]] = []
    for hit in sorted(head, key=lambda h: (h.path, h.line, h.rule)):
        snippet = (hit.rule, _line(change.head_contents, hit))
        seen[hit.path, snippet] += 1
        print_ = fingerprint(hit, snippet[1], seen[hit.path, snippet])
        if known.take(hit, snippet):
            found.append(_finding(hit, print_, new=False, blocks=False))
        else:
            rest.append((hit, print_))
    for hit, print_ in rest:
        old = by_message and known.take_message(hit)
        found.append(_finding(hit, print_, new=not old, blocks=not old and blocks(hit)))
    return tuple(found)


def fingerprint(hit: Hit, snippet: str, occurrence: int) -> str:
    """Rule, path, normalised snippet, occurrence."""
    parts = (hit.rule, hit.path, hit.secret or snippet, str(occurrence))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


class _Known:
    """Base's hits, each good for one of head's."""

    def __init__(self, change: Change, base: list[Hit]) -> None:
        gone = {file.path: set(file.removed_lines) for file in change.files}
        deleted = {file.path for file in change.files if file.head_mode is None}
        lines = [(hit, (hit.rule, _line(change.base_contents, hit))) for hit in base]
        self._same = Counter((hit.path, snippet) for hit, snippet in lines)
        self._moved = Counter(
            snippet
            for hit, snippet in lines
            if hit.path in deleted or hit.line in gone.get(hit.path, ())
        )
        self._messages = Counter((hit.path, hit.rule, hit.message) for hit in base)

    def take(self, hit: Hit, snippet: Snippet) -> bool:
        if _take(self._same, (hit.path, snippet)):
            _take(self._messages, (hit.path, hit.rule, hit.message))
            return True
        return _take(self._moved, snippet)

    def take_message(self, hit: Hit) -> bool:
        return _take(self._messages, (hit.path, hit.rule, hit.message))


def _take(
    counter: Counter[object]
    | Counter[tuple[str, Snippet]]
    | Counter[Snippet]
    | Counter[tuple[str, str, str]],
    key: object,
) -> bool:
    table: Counter[object] = counter  # type: ignore[assignment]  # counters of any key are taken from alike
    if table[key] <= 0:
        return False
    table[key] -= 1
    return True


def _line(contents: Mapping[str, bytes], hit: Hit) -> str:
    """The text at a hit.

    A file that is not at hand compares by its secret or by nothing but the rule.
    """
    if hit.secret is not None:
        return hit.secret
    lines = contents.get(hit.path, b"").split(b"\n")
    line = lines[hit.line - 1] if 0 < hit.line <= len(lines) else b""
    return " ".join(line.decode("utf-8", "replace").split())


def _finding(hit: Hit, print_: str, *, new: bool, blocks: bool) -> Finding:
    return Finding(
        hit.rule,
        hit.severity,
        hit.path,
        hit.line,
        hit.message,
        print_,
        new,
        blocks,
        hit.cwe,
        hit.allowed,
    )

"""Marks in Python that ask a tool, or a test run, to look away.

Read as tokens: a text that speaks of a mark is none. Counted by kind at base and at head.
"""

import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable

from quality_gates.model import Change
from quality_gates.paths import is_regular
from quality_gates.project_rules import named
from quality_gates.selection import is_only_a_test

_RULE = r"[A-Z]{1,6}[0-9]{1,5}"
_NOQA = re.compile(
    rf"#\s*(?P<file>(?:ruff|flake8)\s*[:=]\s*)?noqa\b(?P<rules>\s*:\s*{_RULE}(?:[,\s]+{_RULE})*)?",
    re.IGNORECASE,
)
"""As ruff and flake8 read it: `noqa` in any case; rules after a colon, by commas or blanks."""
_IGNORE = re.compile(r"#\s*ruff\s*:\s*ignore\s*\[(?P<rules>[\w\s,-]{1,500})\]", re.IGNORECASE)
"""The same for a line, by codes or by names."""
_SECURITY = re.compile(r"\bS[0-9]", re.IGNORECASE)
"""flake8-bandit's rules, as ruff has them too."""
EXCLUSION = "pragma: no cover"
_IN_COMMENTS: dict[str, re.Pattern[str]] = {
    "nosec": re.compile(r"#.{0,200}\bnosec\b", re.IGNORECASE),
    "nosemgrep": re.compile(r"#.{0,200}\bno-?sem(grep)?\b", re.IGNORECASE),
    "ruff: disable": re.compile(
        r"#\s*ruff\s*:\s*(disable|ignore(?!\s*\[\s*[a-z0-9]))", re.IGNORECASE
    ),
    "type: ignore": re.compile(
        r"#\s*(type|pyright|mypy|ty|pyre-ignore|pyre-fixme|pylint)\s*[:=\[]\s*(ignore|disable)"
    ),
    EXCLUSION: re.compile(r"#.{0,200}pragma\s*:?\s*no\s*(cover|branch)", re.IGNORECASE),
    "allowlist secret": re.compile(
        r"pragma\s*:\s*(allow|white)list[ -](nextline[ -])?secret", re.IGNORECASE
    ),
}
_SKIP = re.compile(
    r"\bmark\s?\.\s?(skip|skipif|xfail)\b|\bpytest\s?\.\s?(skip|xfail|importorskip|exit)\s?\("
    r"|\b(unittest\s?\.\s?)?(skipIf|skipUnless|SkipTest|expectedFailure)\b"
    r"|\bunittest\s?\.\s?skip\b|\b__test__\s?=\s?False\b|\bcollect_ignore(_glob)?\b"
)
BLANKET, SECURITY, NAMED, SKIP = "blanket noqa", "noqa of security", "noqa", "skip or xfail"
KINDS = (*_IN_COMMENTS, BLANKET, SECURITY, NAMED, SKIP)
SHOWN = frozenset({NAMED, "type: ignore", EXCLUSION})
"""Refused by nobody: a rule by its name is a sentence that a reader can check.

No scanner and no coverage of ours honours any of the marks, so a line that is marked and not run is
the coverage gate's matter.
"""
MAX_LINE_BYTES = 20_000
MAX_BYTES = 4 * 2**20


def counts(content: bytes) -> Counter[str]:
    """Comments, and lines of code, of a Python file that hold each kind of mark."""
    comments, code = _read(content[:MAX_BYTES])
    found: Counter[str] = Counter()
    for comment in comments:
        for kind, pattern in _IN_COMMENTS.items():
            found[kind] += pattern.search(comment[:MAX_LINE_BYTES]) is not None
        for mark in _NOQA.finditer(comment[:MAX_LINE_BYTES]):
            found[_kind_of(mark)] += 1
        if rules := _ignored(comment[:MAX_LINE_BYTES]):
            found[SECURITY if any(map(_SECURITY.search, rules)) else NAMED] += 1
    found[SKIP] += sum(_SKIP.search(line[:MAX_LINE_BYTES]) is not None for line in code)
    return +found


def growth(
    change: Change, *, tests: bool | None = None, kinds: Iterable[str] = KINDS
) -> dict[str, tuple[int, int]]:
    """Kind -> (at base, at head), over the changed Python files, for the kinds that grew.

    `tests` True or False: only those files.
    """
    base: Counter[str] = Counter()
    head: Counter[str] = Counter()
    for file in change.files:
        if file.binary or (tests is not None and is_only_a_test(change, file.path) is not tests):
            continue
        if is_regular(file.base_mode) and file.path in change.base_python.sources:
            base += counts(change.base_contents.get(file.path, b""))
        if is_regular(file.head_mode) and file.path in change.head_python.sources:
            head += counts(change.head_contents.get(file.path, b""))
    return {kind: (base[kind], head[kind]) for kind in kinds if head[kind] > base[kind]}


def rules_of(comment: str) -> frozenset[str]:
    """The codes that a line's marks name; none where it names none, or is for the whole file."""
    return _ignored(comment) | frozenset(
        rule.upper()
        for mark in _NOQA.finditer(comment)
        if not mark["file"] and mark["rules"]
        for rule in re.findall(_RULE, mark["rules"], re.IGNORECASE)
    )


def _ignored(comment: str) -> frozenset[str]:
    """The codes that `ruff: ignore[...]` names."""
    words = (
        word.strip() for mark in _IGNORE.finditer(comment) for word in mark["rules"].split(",")
    )
    return frozenset(named().get(word.lower(), word.upper()) for word in words if word)


def _kind_of(noqa: re.Match[str]) -> str:
    if not noqa["rules"]:
        return BLANKET
    return SECURITY if _SECURITY.search(noqa["rules"]) else NAMED


def _read(content: bytes) -> tuple[list[str], list[str]]:
    """Comments, and lines of code without comments and texts.

    What is not Python to the tokenizer is taken line by line from there on, as both.
    """
    comments: list[str] = []
    code: dict[int, list[str]] = {}
    lines = content.decode("utf-8", "replace").splitlines()
    reached = 0
    try:
        for token in tokenize.tokenize(io.BytesIO(content).readline):
            reached = token.end[0]
            _take(token, comments.append, code)
    except (tokenize.TokenError, SyntaxError, ValueError):
        rest = lines[max(0, reached - 1) :]
        return [*comments, *rest], [*map(" ".join, code.values()), *rest]
    return comments, [" ".join(words) for words in code.values()]


def _take(
    token: tokenize.TokenInfo, comment: Callable[[str], None], code: dict[int, list[str]]
) -> None:
    if token.type == tokenize.COMMENT:
        comment(token.string)
    elif token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
        code.setdefault(token.start[0], []).append(token.string)

"""Where a line of base lies at head: lines that a patch does not touch keep their order."""

from collections.abc import Iterable
from itertools import count, islice

from quality_gates.model import FileChange


def surviving(file: FileChange | None, lines: Iterable[int]) -> dict[int, int]:
    """Those of base's `lines` of a file that head still has: line at base -> line at head.

    `file` None: the patch does not touch it. None survive where head has no such file, or git saw
    no lines.
    """
    if file is None:
        return {line: line for line in lines}
    if file.binary or file.base_mode is None or file.head_mode is None:
        return {}
    return _moved(file, sorted(lines))


def _moved(file: FileChange, wanted: list[int]) -> dict[int, int]:
    last = wanted[-1] if wanted else 0
    removed, added = set(file.removed_lines), set(file.added_lines)
    before = (line for line in range(1, last + 1) if line not in removed)
    after = (line for line in count(1) if line not in added)
    places = dict(zip(before, islice(after, last), strict=False))
    return {line: places[line] for line in wanted if line in places}

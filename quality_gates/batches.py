"""Many files for one tool: as many runs of it as command lines hold.

Linux takes 2 MiB of arguments where the stack may have its usual 8 MiB, and no tool but ours reads
a list of files in which any name can stand.
"""

from collections.abc import Iterable

ARGUMENT_BYTES = 2**20
_POINTER_BYTES = 9
"""What each argument takes beside its text: a pointer, and the byte that ends it."""


def batches(tool: str, files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name of the run -> its files, in order: `tool`, then `tool-2` and so on; none of no files."""
    found: list[list[str]] = []
    taken = 0
    for file in files:
        size = len(file.encode("utf-8", "surrogateescape")) + _POINTER_BYTES
        if not found or taken + size > ARGUMENT_BYTES:
            found.append([])
            taken = 0
        found[-1].append(file)
        taken += size
    return {
        tool if number == 1 else f"{tool}-{number}": tuple(one)
        for number, one in enumerate(found, start=1)
    }

"""What a patch may bring into a repository: names, links, sizes.

Pure; the rules bind new entries, never what the base has.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

PATCH_BYTES = 256 * 2**20
"""Of a patch, whoever made it: no larger one is made, taken in or read."""


@dataclass(frozen=True, slots=True)
class PatchLimits:
    """How much one change may be, and how long the search for it may take."""

    patch_bytes: int = PATCH_BYTES
    files: int = 10_000
    file_bytes: int = 50 * 2**20
    total_bytes: int = 200 * 2**20
    """Of all files that are new or changed. What is deleted is in the patch, and not in these."""
    depth: int = 128
    path_bytes: int = 4095
    entries_seen: int = 500_000
    """Directory entries that are looked at, changed or not."""
    time_s: float = 120.0
    refused: int = 200
    """New entries that cannot be taken and are named one by one; the rest is counted."""


_IGNORABLE = dict.fromkeys(  # code points that HFS+ leaves out when it compares names
    [0xFEFF, *range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070)]
)
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *([.:].*)?",
    re.IGNORECASE | re.DOTALL,
)
_NTFS_DOT_GIT = re.compile(r"(\.git|git~[0-9]+)[ .]*([:\\].*)?", re.IGNORECASE | re.DOTALL)

_LITTER_DIRECTORIES = {
    b"__pycache__",
    b".pytest_cache",
    b".mypy_cache",
    b".ruff_cache",
    b".hypothesis",
    b"htmlcov",
}
_LITTER_FILES = re.compile(rb".*\.py[co]|\.coverage(\..*)?|\.DS_Store", re.DOTALL)
_NOWHERE = frozenset((b"", b".", b".."))
_EGG_INFO = re.compile(rb".*\.egg-info", re.DOTALL)


def plain_components(path: bytes) -> tuple[bytes, ...]:
    """The names that make up a relative path. Raises ValueError for one that leads elsewhere."""
    names = tuple(path.split(b"/"))
    if not path or b"\0" in path or not _NOWHERE.isdisjoint(names):
        raise ValueError(f"{path!r} is not a plain relative path")
    if len(path) > 255 and any(len(name) > 255 for name in names):
        raise ValueError(f"{path!r} has a name longer than 255 bytes")
    return names


def components(path: bytes) -> tuple[bytes, ...]:
    """The names that make up a path in a repository.

    Raises ValueError for a path that no tree of ours can hold.
    """
    names = plain_components(path)
    if any(is_dot_git(name) for name in names):
        raise ValueError(f"{path!r} reaches into a git directory")
    return names


@lru_cache(maxsize=65536)
def is_dot_git(name: bytes) -> bool:
    """Whether some file system takes this name for `.git`.

    By case, ignorable code points, NTFS short names and streams.
    """
    if b"git" not in name.lower() and name.isascii():
        return False
    text = name.decode("utf-8", "surrogateescape")
    for plain in (text, unicodedata.normalize("NFKC", text)):
        seen = plain.translate(_IGNORABLE).casefold()
        if any(_NTFS_DOT_GIT.fullmatch(part) for part in (seen, *seen.split("\\"))):
            return True
    return False


def is_litter(path: bytes) -> bool:
    """Whether tools leave this behind in any repository.

    Never taken as new (what the base tracks is always looked at).
    """
    *directories, name = path.split(b"/")
    if any(part in _LITTER_DIRECTORIES or _EGG_INFO.fullmatch(part) for part in directories):
        return True
    return _LITTER_FILES.fullmatch(name) is not None


def is_litter_directory(name: bytes) -> bool:
    """Whether nothing below a directory of this name is ever new."""
    return name in _LITTER_DIRECTORIES or _EGG_INFO.fullmatch(name) is not None


def refused_name(path: bytes, limits: PatchLimits) -> str | None:
    """Why a new path may not be; None: it may.

    Newlines, quotes, backslashes, leading dashes and bad UTF-8 may.
    """
    try:
        names = components(path)
    except ValueError as error:
        return str(error)
    if len(path) > limits.path_bytes:
        return f"the path is longer than {limits.path_bytes} bytes"
    if len(names) > limits.depth:
        return f"the path is deeper than {limits.depth} directories"
    text = path.decode("utf-8", "surrogateescape")
    if _BIDI.search(text):
        return "the name holds characters that turn the direction of text"
    for name in text.split("/"):
        if _RESERVED.fullmatch(name):
            return f"{name!r} is a device on Windows"
    return None


def refused_link(path: bytes, target: bytes) -> str | None:
    """Why a new symbolic link may not be; None: it may.

    `..` is allowed at the target's start only, so that each step is known: behind another link it
    could lead anywhere.
    """
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    ups = next((index for index, name in enumerate(names) if name != b".."), len(names))
    if not target or b"\0" in target:
        return "a link with no target"
    if target.startswith(b"/"):
        return f"a link to the absolute path {target!r}"
    if ups > path.count(b"/"):
        return f"a link that leaves the repository: {target!r}"
    if b".." in names[ups:]:
        return f"a link whose way cannot be known without following others: {target!r}"
    if any(is_dot_git(name) for name in names):
        return f"a link into a git directory: {target!r}"
    return None


def fold(path: bytes) -> str:
    """One spelling for all that some file system cannot tell apart.

    They differ by case, or by composed and decomposed characters.
    """
    if path.isascii():
        return path.decode("ascii").lower()
    text = path.decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def twins(
    directories: Mapping[bytes, Collection[bytes]], added: Iterable[bytes]
) -> dict[bytes, bytes]:
    """New paths that some file system cannot tell from another path: new path -> the other one.

    `directories` holds, for each directory above an added path, the names that the new tree has
    there.
    """
    spellings: dict[bytes, dict[str, list[bytes]]] = {}
    found: dict[bytes, bytes] = {}
    for path in added:
        for prefix in _prefixes(path):
            directory, slash, name = prefix.rpartition(b"/")
            if directory not in spellings:
                spellings[directory] = _by_fold(directories[directory])
            others = [other for other in spellings[directory][fold(name)] if other != name]
            if others:
                found[path] = directory + slash + min(others)
    return found


def _by_fold(names: Iterable[bytes]) -> dict[str, list[bytes]]:
    spellings: dict[str, list[bytes]] = {}
    for name in names:
        spellings.setdefault(fold(name), []).append(name)
    return spellings


def _prefixes(path: bytes) -> list[bytes]:
    """The path and the directories above it."""
    found = [path]
    while slash := path.rfind(b"/") + 1:
        path = path[: slash - 1]
        found.append(path)
    return found

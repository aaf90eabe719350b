"""Which paths a repository may hold: pure rules over bytes (faults.md G06, G07, G11)."""

import re

MAX_PATH_BYTES = 4096
MAX_COMPONENT_BYTES = 255
MAX_DEPTH = 64

# Code points that HFS+ ignores inside a name, so that ".g<ZWNJ>it" would be ".git" there.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_GIT_LIKE = re.compile(
    r"\.git[. ]*(:.*)?|git~\d+[. ]*(:.*)?", re.IGNORECASE
)  # NTFS drops trailing dots, cuts at ":"


def refusal(path: bytes) -> str | None:
    """Why a repository may not hold `path`, or None: it may."""
    if path.startswith(b"/"):
        return "an absolute name"
    if len(path) > MAX_PATH_BYTES:
        return f"a path of more than {MAX_PATH_BYTES} bytes"
    if b"\0" in path:
        return "a NUL byte in its name"
    components = path.split(b"/")
    if len(components) > MAX_DEPTH:
        return f"more than {MAX_DEPTH} directories deep"
    return next((reason for component in components if (reason := _component(component))), None)


def _component(name: bytes) -> str | None:
    if name in (b"", b".", b".."):
        return f"a path component {name.decode()!r}"
    if len(name) > MAX_COMPONENT_BYTES:
        return f"a name of more than {MAX_COMPONENT_BYTES} bytes"
    if _GIT_LIKE.fullmatch(_IGNORED.sub("", name.decode(errors="surrogateescape"))):
        return "a name that some file system takes for .git"
    return None


def link_refusal(path: bytes, target: bytes) -> str | None:
    """Why the link `path` may not point to `target`: by its text, a link must stay in the tree."""
    if not target or b"\0" in target or len(target) > MAX_PATH_BYTES:
        return "a link with an impossible target"
    if target.startswith(b"/"):
        return f"a link to an absolute path ({shown(target)})"
    depth = path.count(b"/")
    for component in target.split(b"/"):
        depth += {b"..": -1, b".": 0, b"": 0}.get(component, 1)
        if depth < 0:
            return f"a link out of the tree ({shown(target)})"
    return None


def shown(path: bytes) -> str:
    """A path for people: printable, at most 200 characters."""
    return repr(path.decode(errors="backslashreplace"))[1:-1][:200]

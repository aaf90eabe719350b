"""A list of files as `git fast-import` reads it. Pure: the same bytes for the same files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from control_plane.repos.archives import Entry

_WHO = b"Virtual Software Company <vsc@localhost> 946684800 +0000"


@dataclass(frozen=True, slots=True)
class Commit:
    """The one commit of a stream: where it goes, what it says, what it stands on."""

    ref: str
    message: str
    parent: str | None = None


def stream(commit: Commit, entries: Iterable[Entry]) -> bytes:
    """The whole stream.

    The files are all that the commit has: nothing is inherited from its parent.
    """
    return b"".join(_parts(commit, entries))


def _parts(commit: Commit, entries: Iterable[Entry]) -> Iterator[bytes]:
    message = commit.message.encode()
    yield b"commit %s\nauthor %s\ncommitter %s\n" % (commit.ref.encode(), _WHO, _WHO)
    yield b"data %d\n%s\n" % (len(message), message)
    if commit.parent is not None:
        yield b"from %s\ndeleteall\n" % commit.parent.encode()
    for entry in entries:
        yield b"M %s inline %s\ndata %d\n" % (
            entry.mode.encode(),
            _quoted(entry.path),
            len(entry.content),
        )
        yield entry.content
        yield b"\n"
    yield b"done\n"


def _quoted(path: bytes) -> bytes:
    escaped = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'

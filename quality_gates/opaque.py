"""What the interpreter would take and no gate can read: it is refused by name."""

import re
import tokenize
from io import BytesIO
from pathlib import PurePosixPath

from quality_gates.links import Lead, Links
from quality_gates.model import Change
from quality_gates.paths import is_python, is_test_path

COMPILED_SUFFIXES = (".so", ".pyd", ".pyc", ".pyo")
_ARCHIVE_END = b"PK\x05\x06"
_ARCHIVE_TAIL_BYTES = 65_557
_READ_ALIKE = frozenset({"utf-8", "utf-8-sig", "ascii", "iso-8859-1", "iso-8859-15", "cp1252"})
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_ENTRY_POINTS = re.compile(r"\.(?:dist-info|egg-info)/entry_points\.txt$")
_STARTS = frozenset({"sitecustomize.py", "usercustomize.py"})
_COMPILED = (
    "compiled code, which the interpreter takes and no gate can read; take it out, and commit its "
    "source or depend on the package that has it"
)


def refusal(name: str, content: bytes | None) -> str | None:
    """Why what lies under `name` cannot be judged; None: it can, or it is nothing of Python's."""
    if (told := _by_name(name)) is not None:
        return told
    if content is None:
        return "a Python file that is too large to be read; split it" if is_python(name) else None
    if _is_compiled(content):
        return _COMPILED
    if _is_archive_of_python(content):
        return (
            "an archive with Python in it, which an import path may name and no gate looks into; "
            "take it out, and commit its files or depend on the package"
        )
    if name.endswith((".pth", ".egg-link")):
        return _led_astray(name, content)
    return _unreadable(content) if is_python(name) else None


def _by_name(name: str) -> str | None:
    """What nothing inside of it could make good."""
    if name.lower().endswith(COMPILED_SUFFIXES):
        return _COMPILED
    if PurePosixPath(name).name in _STARTS:
        return (
            "a module that every interpreter runs at its start, those of the tests' own children"
            " too; let a module of the product do it"
        )
    if _ENTRY_POINTS.search(name) and not is_test_path(name):
        return (
            "entry points of an installed distribution, which the interpreter finds and no build"
            " made; take them out: a build writes them"
        )
    return None


def blind_link(name: str, lead: Lead) -> str | None:
    """Why a link cannot be judged: it leaves, or nobody knows what will lie where it leads."""
    if lead.leaves:
        return f"a link that {lead.problem}; let it lead to a file of the repository"
    if lead.path is None and (is_python(name) or _could_be_a_package(name)):
        return (
            f"a link that {lead.problem}: what the interpreter would find there, nobody can say; "
            "commit what it leads to, or take it out"
        )
    return None


def blind_links(change: Change) -> dict[str, str]:
    """Head's links that cannot be judged and that base has otherwise: link -> why."""
    before, after = change.base_python.links, change.head_python.links
    found = {}
    for name, lead in after.leads.items():
        same = before.leads.get(name) == lead and before.targets.get(name) == after.targets[name]
        if not same and (why := blind_link(name, lead)):
            found[name] = why
    return found


def _could_be_a_package(name: str) -> bool:
    return PurePosixPath(name).name.isidentifier()


def _is_compiled(content: bytes) -> bool:
    """A `.pyc` under any name: `python FILE` runs it by its first bytes."""
    magic = int.from_bytes(content[:2], "little")
    return content[2:4] == b"\r\n" and 3000 <= magic < 5000 and content[5:8] == b"\0\0\0"


def _is_archive_of_python(content: bytes) -> bool:
    if _ARCHIVE_END not in content[-_ARCHIVE_TAIL_BYTES:]:
        return False
    directory = content.find(b"PK\x01\x02")
    return directory >= 0 and any(
        suffix in content[directory:] for suffix in (b".py", b".so", b".pyd")
    )


def _led_astray(name: str, content: bytes) -> str | None:
    """A line of a path file is run if it is an `import`; else it names a folder."""
    for line in content.decode("utf-8", "replace").splitlines():
        if line.startswith(("import ", "import\t")):
            return (
                "a path file with a line that the interpreter runs at every start; "
                "let a module do it, where gates can read it"
            )
        inside = Links({}, {}).follow(f"{PurePosixPath(name).parent}/{line.strip()}")
        if line.strip().startswith("/") or inside.leaves:
            return "a path file that leads out of the repository; let it name a folder inside"
    return None


def _unreadable(content: bytes) -> str | None:
    """Tools read UTF-8, the interpreter what the file declares."""
    if b"\0" in content:
        return "a Python file with NUL bytes, which tools read otherwise than the interpreter"
    if _LONE_RETURN.search(content):
        return (
            "a Python file with a carriage return inside of a line: the interpreter begins a line"
            " there, and git and the tools do not; write line ends as others do"
        )
    try:
        encoding = tokenize.detect_encoding(BytesIO(content).readline)[0]
    except SyntaxError:
        return None  # no Python at all: every gate says so
    if encoding in _READ_ALIKE:
        return None
    return f"a Python file in the encoding {encoding!r}, which tools do not read; save it as UTF-8"

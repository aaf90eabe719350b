"""pytest's JUnit file.

A document type or an entity is refused: we never need one, and they are how XML attacks its
readers.
"""

from collections import defaultdict
from typing import NoReturn
from xml.parsers import expat

from quality_gates.parsers.reading import MAX_ITEMS, ParseError, guarded

Key = tuple[str, str]
"""classname and name, as JUnit has them."""
_DEPTH = 32
_PROBLEMS = {"failure": "failed", "error": "failed", "skipped": "skipped"}


@guarded
def parse(content: bytes) -> dict[Key, str]:
    """Test -> `passed`, `failed` or `skipped`; the worst where a test occurs twice."""
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler, parser.EntityDeclHandler = _refuse, _refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ParseError(f"not XML: {error}") from error
    if not reader.suites:
        raise ParseError("no test suite in the document")
    return {
        key: max(outcomes, key=("passed", "skipped", "failed").index)
        for key, outcomes in reader.cases.items()
    }


def key_of(nodeid: str) -> Key:
    """The key under which pytest writes a test to JUnit."""
    path, bracket, parameters = nodeid.partition("[")
    names = path.split("::")
    names[0] = names[0].replace("/", ".").removesuffix(".py")
    names[-1] += bracket + parameters
    return _escaped(".".join(names[:-1])), _escaped(names[-1])


class _Reader:
    def __init__(self) -> None:
        self.cases: dict[Key, list[str]] = defaultdict(list)
        self.suites = 0
        self._open: list[str] = []
        self._case: Key | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        if len(self._open) > _DEPTH or len(self.cases) > MAX_ITEMS:
            raise ParseError("too deep or too long")
        if name == "testsuite":
            self.suites += 1
        elif name == "testcase":
            self._case = (attributes.get("classname", ""), attributes.get("name", ""))
            self.cases[self._case].append("passed")
        elif name in _PROBLEMS and self._case is not None:
            self.cases[self._case][-1] = _PROBLEMS[name]

    def end(self, name: str) -> None:
        self._open.pop()
        if name == "testcase":
            self._case = None


def _escaped(text: str) -> str:
    """As pytest escapes what XML cannot hold."""
    return "".join(
        c if _allowed(ord(c)) else f"#x{ord(c):02X}" if ord(c) <= 0xFF else f"#x{ord(c):04X}"
        for c in text
    )


def _allowed(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0x7E
        or 0x80 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or code >= 0x10000
    )


def _refuse(*_: object) -> NoReturn:
    raise ParseError("the document declares a type or an entity")

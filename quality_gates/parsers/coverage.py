"""coverage.py's JSON report (format 3)."""

from dataclasses import dataclass

from quality_gates.parsers.reading import (
    guarded,
    integer,
    json_document,
    mapping,
    path_text,
    sequence,
    text,
)


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """The executable lines of one file."""

    executed: frozenset[int]
    missing: frozenset[int]
    excluded: frozenset[int]

    @property
    def executable(self) -> frozenset[int]:
        """Lines that could have run."""
        return self.executed | self.missing


@dataclass(frozen=True, slots=True)
class CoverageData:
    """All files, by the path that the tool wrote."""

    files: dict[str, FileCoverage]
    version: str


@guarded
def parse(content: bytes) -> CoverageData:
    """Lines per file."""
    document = mapping(json_document(content))
    files = {path_text(name): _file(value) for name, value in mapping(document["files"]).items()}
    return CoverageData(files, text(mapping(document["meta"])["version"], 50))


def _file(value: object) -> FileCoverage:
    row = mapping(value)
    return FileCoverage(
        _lines(row["executed_lines"]), _lines(row["missing_lines"]), _lines(row["excluded_lines"])
    )


def _lines(value: object) -> frozenset[int]:
    return frozenset(integer(line) for line in sequence(value))

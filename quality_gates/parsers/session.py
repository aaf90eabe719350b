"""The report that our pytest plugin leaves at the end of a session."""

from dataclasses import dataclass

from quality_gates.parsers.reading import guarded, integer, json_document, mapping, sequence, text


@dataclass(frozen=True, slots=True)
class SessionReport:
    """As written inside the sandbox: a claim, until it agrees with the rest."""

    exit_code: int
    outcomes: dict[str, str]
    not_run: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]
    disagreements: frozenset[str]
    """Tests whose report said `passed` although an exception was raised."""
    overruled: frozenset[str]
    """Tests that ended well although their function raised, or was never called."""
    foreign: tuple[tuple[str, str], ...]
    """Modules of the project that came from elsewhere."""
    pytest_version: str
    python_version: str


@guarded
def parse(content: bytes) -> SessionReport:
    """The report."""
    document = mapping(json_document(content))
    return SessionReport(
        exit_code=integer(document["exit_code"]),
        outcomes={text(k, 4096): text(v, 20) for k, v in mapping(document["outcomes"]).items()},
        not_run=tuple(text(item, 4096) for item in sequence(document["not_run"])),
        errors=tuple(map(_pair, sequence(document["errors"]))),
        disagreements=frozenset(_pair(item)[0] for item in sequence(document["disagreements"])),
        overruled=frozenset(text(item, 4096) for item in sequence(document["overruled"])),
        foreign=tuple(map(_pair, sequence(document["foreign"]))),
        pytest_version=text(document["pytest"], 50),
        python_version=text(document["python"], 50),
    )


def _pair(value: object) -> tuple[str, str]:
    first, second = sequence(value)
    return text(first, 4096), text(second)

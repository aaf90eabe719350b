"""Which stage may ask what of its door: one table, and what it does not name is refused (pure)."""

from collections.abc import Mapping
from enum import StrEnum

from quality_gates.model import Stage
from runners.protocol import TESTS_BYTES, Stream


class Verb(StrEnum):
    """What a sandbox can ask of its door."""

    CAPSULE = "capsule"
    """Read the capsule again."""
    CHUNKS = "chunks"
    """Leave numbered chunks of its log and of its test events."""
    EGRESS = "egress"
    """Reach the hosts that its spec lists."""
    SUBMIT = "submit"
    """Hand in the document that is asked for, and be told at once what is wrong with it."""


_TOLD = frozenset({Verb.CAPSULE, Verb.CHUNKS})

GRANTS: Mapping[str, frozenset[Verb]] = {
    # The only stage that may leave: it sees nothing of the change but its list of dependencies.
    "prepare": _TOLD | {Verb.EGRESS},
    # Only where a document is asked for: see `granted`.
    "execute": _TOLD | {Verb.SUBMIT},
    **{stage.value: _TOLD for stage in Stage},
}

STREAM_BYTES: Mapping[Stream, int] = {
    "stdout": 16 * 2**20,
    "stderr": 16 * 2**20,
    "tests": TESTS_BYTES,
}
"""Bytes of each stream that are kept; a stream that is not named is refused."""


class NotGranted(ValueError):
    """A sandbox was asked for with more than its stage may have; the caller must ask for less."""


def granted(stage: str, egress: tuple[str, ...], *, document: bool = False) -> frozenset[Verb]:
    """The verbs of a stage whose spec lists `egress`, and a `document` as its product or not.

    A stage that nobody named has none.

    Raises NotGranted for egress in a stage that executes what was judged or will be judged.
    """
    verbs = GRANTS.get(stage, frozenset())
    if egress and Verb.EGRESS not in verbs:
        raise NotGranted(f"stage {stage!r} has no egress; the table of grants says who has")
    return verbs if document else verbs - {Verb.SUBMIT}

"""What dehydrate says of a tree: `changes.json`, written beside the patch by trusted code."""

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

PATCH = "change.patch"
CHANGES = "changes.json"


@dataclass(frozen=True, slots=True)
class ChangedEntry:
    """One path that differs. A mode or blob of None: it is not there on that side."""

    path: bytes
    base_mode: str | None
    head_mode: str | None
    base_blob: str | None
    head_blob: str | None


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """Something that no patch carries. An empty path: the tree as a whole (a limit)."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference of a dead sandbox's tree from the tree it is compared with."""

    tree: str | None
    """The new tree's id; None: something was refused, and there is no patch."""
    entries: tuple[ChangedEntry, ...]
    refused: tuple[RefusedEntry, ...]
    notes: tuple[str, ...]
    altered_tracked: tuple[bytes, ...]
    """Tracked paths whose bytes or mode differ, or that are gone."""
    stopped: str | None = None
    """Why looking ended early. `altered_tracked` is not whole then: more may differ."""

    def to_json(self) -> str:
        """Sorted, and the same for the same changes.

        A path that is not UTF-8 is written `{"base64": ...}`.
        """
        document = {
            "tree": self.tree,
            "entries": [
                {**asdict(entry), "path": path_to_json(entry.path)} for entry in self.entries
            ],
            "refused": [
                {"path": path_to_json(entry.path), "reason": entry.reason} for entry in self.refused
            ],
            "notes": list(self.notes),
            "altered_tracked": [path_to_json(path) for path in self.altered_tracked],
            "stopped": self.stopped,
        }
        return json.dumps(document, indent=1) + "\n"


def changes_from_json(text: bytes | str) -> Changes:
    """Read `changes.json` back."""
    document = json.loads(text)
    return Changes(
        document["tree"],
        tuple(
            ChangedEntry(**{**entry, "path": path_from_json(entry["path"])})
            for entry in document["entries"]
        ),
        tuple(
            RefusedEntry(path_from_json(entry["path"]), entry["reason"])
            for entry in document["refused"]
        ),
        tuple(document["notes"]),
        tuple(path_from_json(path) for path in document["altered_tracked"]),
        document["stopped"],
    )


def path_to_json(path: bytes) -> str | dict[str, str]:
    """Text where it is text."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(path).decode()}


def path_from_json(value: Any) -> bytes:  # noqa: ANN401 -- JSON
    """The bytes that `path_to_json` was given."""
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()

"""What `vsc gc` shows: by kind, what stays and what goes."""

from typing import Any

from control_plane.retention.collector import Survey
from control_plane.retention.rules import Kind, Tally

_NONE = Tally()


def size(size_bytes: int) -> str:
    """For people: three digits are enough."""
    number, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1000:
            break
        number, unit = number / 1024, larger
    return f"{number:.3g} {unit}"


def survey_rows(survey: Survey) -> list[dict[str, str]]:
    """One row a kind, as far as there is any of it."""
    rows = [
        {
            "kind": kind.value,
            "stays": _told(survey.kept.get(kind, _NONE)),
            "goes": _told(survey.gone.get(kind, _NONE)),
        }
        for kind in Kind
        if kind in survey.kept or kind in survey.gone
    ]
    if survey.young.blobs:
        rows.append({"kind": "too new to say", "stays": _told(survey.young), "goes": ""})
    return rows


def survey_document(survey: Survey, *, collected: bool) -> dict[str, Any]:
    """The same for machines."""
    return {
        "collected": collected,
        "kept": {kind.value: _counted(tally) for kind, tally in survey.kept.items()},
        "new": _counted(survey.young),
        "gone": {kind.value: _counted(tally) for kind, tally in survey.gone.items()},
        "gone_bytes": survey.gone_bytes,
    }


def _told(tally: Tally) -> str:
    return f"{size(tally.size_bytes)} in {tally.blobs}" if tally.blobs else ""


def _counted(tally: Tally) -> dict[str, int]:
    return {"blobs": tally.blobs, "bytes": tally.size_bytes}

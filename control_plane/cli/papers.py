"""What `vsc check` and `vsc run` leave for people: report and patch as files, and what is shown."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from control_plane.cli.judging import Judged
from control_plane.cli.output import Output
from control_plane.cli.show import gates_table, plain, verdict_text


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a run's papers lie, to be read without a server."""

    report: Path | None
    markdown: Path | None
    patch: Path | None


def keep(home: Path, judged: Judged) -> Kept:
    """Leave the report and the patch where they can be read without a server."""
    folder = home / "reports"
    if judged.report is not None or judged.patch is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    report = markdown = patch = None
    if judged.report is not None and judged.markdown is not None:
        report, markdown = folder / f"{judged.run}.json", folder / f"{judged.run}.md"
        report.write_text(json.dumps(judged.report, indent=2) + "\n", encoding="utf-8")
        markdown.write_text(judged.markdown, encoding="utf-8")
    if judged.patch is not None:
        patch = folder / f"{judged.run}.patch"
        patch.write_bytes(judged.patch)
    return Kept(report, markdown, patch)


def show(judged: Judged, kept: Kept, output: Output) -> None:
    """How it ended, for people or as the one document."""
    paths = {
        name: str(path) if path else None
        for name, path in (("report", kept.report), ("patch", kept.patch))
    }
    if output.as_json:
        output.document(judged.to_json() | paths)
    else:
        _show_people(judged, kept, output)
    if judged.interrupted:
        ended = "was cancelled" if judged.state == "CANCELLED" else f"is {judged.state}"
        output.tell(f"interrupted: task {judged.task} {ended}")


def _show_people(judged: Judged, kept: Kept, output: Output) -> None:
    def line(text: str) -> None:
        output.result.print(Text(plain(text)), soft_wrap=True)

    report = judged.report or {"gates": []}
    for stream, text in judged.output.items():
        line(f"the end of the command's {stream}:")
        for said in text.split("\n"):
            line(f"    {said}")
    if trouble := report.get("base_trouble"):
        line(f"base could not be tested: {trouble}")
    if report["gates"]:
        output.result.print(gates_table(report["gates"]))
    for note in report.get("notes", []):
        line(f"note: {note}")
    output.result.print(Text("verdict: ").append(verdict_text(judged.verdict)))
    if judged.verdict is None:
        line(
            f"the run ended as {judged.state}: {judged.cause}"
            if judged.cause
            else f"the run is {judged.state}"
        )
    if kept.patch:
        line(f"patch: {kept.patch}")
    if kept.report and kept.markdown:
        line(f"report: {kept.markdown} ({kept.report.name} beside it)")

"""What `vsc check` and `vsc run` leave for people: report and patch as files, and what is shown."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from control_plane.cli.client import Document
from control_plane.cli.judging import Judged
from control_plane.cli.output import Output
from control_plane.cli.show import gates_table, plain, verdict_text
from quality_gates.advice import ADVICE, next_step
from quality_gates.model import Verdict


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


def show(judged: Judged, kept: Kept, output: Output, *, explain: bool = False) -> None:
    """How it ended, for people or as the one document.

    `explain`: also what each gate that did not pass asks, all that it saw, and what can be done.
    """
    paths = {
        name: str(path) if path else None
        for name, path in (("report", kept.report), ("patch", kept.patch))
    }
    if output.as_json:
        output.document(judged.to_json() | paths)
    else:
        _show_people(judged, kept, output, explain=explain)
    if judged.interrupted:
        ended = "was cancelled" if judged.state == "CANCELLED" else f"is {judged.state}"
        output.tell(f"interrupted: task {judged.task} {ended}")


def _show_people(judged: Judged, kept: Kept, output: Output, *, explain: bool) -> None:
    report = judged.report or {"gates": []}
    _show_lines(_before(judged, report), output)
    if report["gates"]:
        output.result.print(gates_table(report["gates"]))
    if explain:
        _show_lines(_explained(report["gates"]), output)
    _show_lines((f"note: {note}" for note in report.get("notes", [])), output)
    output.result.print(Text("verdict: ").append(verdict_text(judged.verdict)))
    _show_lines(_after(judged, kept), output)


def _show_lines(lines: Iterable[str], output: Output) -> None:
    for line in lines:
        output.result.print(Text(plain(line)), soft_wrap=True)


def _before(judged: Judged, report: Document) -> Iterator[str]:
    for stream, text in judged.output.items():
        yield f"the end of the command's {stream}:"
        yield from (f"    {said}" for said in text.split("\n"))
    if trouble := report.get("base_trouble"):
        yield f"base could not be tested: {trouble}"


def _after(judged: Judged, kept: Kept) -> Iterator[str]:
    if judged.verdict is None:
        ended = f"ended as {judged.state}: {judged.cause}"
        yield f"the run {ended if judged.cause else f'is {judged.state}'}"
    if kept.patch:
        yield f"patch: {kept.patch}"
    if kept.report and kept.markdown:
        yield f"report: {kept.markdown} ({kept.report.name} beside it)"


def _explained(gates: Sequence[Document]) -> Iterator[str]:
    """What each gate that did not pass asks, has seen and wants next."""
    for gate in gates:
        name, verdict = str(gate["gate"]), str(gate["verdict"])
        if verdict in {Verdict.PASSED, "not_applicable"}:
            continue
        yield f"{name}: {verdict}"
        if name in ADVICE:
            yield f"    asks: {ADVICE[name].asks}"
        yield from (f"    saw: {reason}" for reason in gate["reasons"])
        if step := next_step(name, Verdict(verdict)):
            yield f"    next: {step}"

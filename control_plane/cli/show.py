"""What a person sees: progress, verdicts, tables.

Text from repositories is shown as text, never as markup or control codes.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from control_plane.cli.timeline import Timeline

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_STYLES = {
    "passed": "green",
    "failed": "red",
    "tampered": "bold red",
    "flaky": "yellow",
    "not_applicable": "dim",
}


def plain(text: object) -> str:
    """The text without anything that could steer a terminal."""
    return _CONTROL.sub("\ufffd", str(text))


class Progress:
    """A timeline as rich shows it; the times of what is under way grow by themselves."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line for each thing."""
        now = datetime.now(UTC)
        table = Table.grid(padding=(0, 2))
        for line in self._timeline.lines:
            running = line.ended_at is None
            mark = Text(
                "…" if running else "✓" if not line.note else "!",
                style="cyan" if running else "dim",
            )
            name = Text("  " * line.depth + plain(line.name), style="bold" if running else "")
            table.add_row(
                mark, name, Text(f"{line.seconds(now):6.1f} s", style="dim"), Text(plain(line.note))
            )
        yield table


def moment(timestamp: str) -> str:
    """A time of the API in UTC, to the second."""
    return f"{datetime.fromisoformat(timestamp).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def gates_table(gates: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each gate, with all its reasons."""
    table = Table("gate", "verdict", "reasons", title_justify="left", expand=False)
    for gate in gates:
        reasons = Text("\n".join(plain(reason) for reason in gate["reasons"]))
        table.add_row(plain(gate["gate"]), verdict_text(gate["verdict"]), reasons)
    return table


def verdict_text(verdict: object) -> Text:
    """A verdict in its colour."""
    word = plain(verdict or "none")
    return Text(word.replace("_", " "), style=_STYLES.get(word, "magenta"))


def rows_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Table:
    """A plain table of some fields of documents."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        # The first one is there to be copied.
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(
            *(
                Text(plain(row.get(column) if row.get(column) is not None else ""))
                for column in columns
            )
        )
    return table


_HALVES = ("session", "judgement")
_EARLIER = "earlier_judgements"
_OF_THE_NEWEST_RUN = ("run_id", "run_state", "verdict", "cause")
"""What a list of tasks shows; here the halves say it."""
_HALF_FIELDS = ("id", "state", "verdict", "cause", "created_at", "started_at", "finished_at")


def task_tables(task: Mapping[str, Any]) -> list[Table]:
    """A task as tables: what was asked, who made the change, what was found of it and before."""
    apart = {"context_packet", "driver", _EARLIER, *_HALVES, *_OF_THE_NEWEST_RUN}
    own = {name: value for name, value in task.items() if name not in apart}
    tables = [_fields("task", own)]
    for half in _HALVES:
        if (run := task[half]) is not None:
            shown = {name: run[name] for name in _HALF_FIELDS} | dict(run[half])
            tables.append(_fields(half, shown))
    if task[_EARLIER]:
        rows = [{"earlier judgement": run["id"], **run} for run in task[_EARLIER]]
        tables.append(rows_table(("earlier judgement", "state", "verdict", "finished_at"), rows))
    return tables


def _fields(title: str, document: Mapping[str, Any]) -> Table:
    rows = [
        {title: name, "": value} for name, value in document.items() if value not in (None, "", [])
    ]
    return rows_table((title, ""), rows)

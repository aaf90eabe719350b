"""What the commands do.

`main.py` names them and their options; this module is imported when one of them runs.
"""

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import uvicorn
from pydantic import ValidationError
from rich.text import Text

from control_plane.auth.service import ensure_local_token
from control_plane.cli import doctor, papers, worktree
from control_plane.cli.address import announced
from control_plane.cli.client import Client
from control_plane.cli.connect import (
    Connection,
    connected,
    make_home,
    platform_errors,
    running,
)
from control_plane.cli.errors import (
    USAGE_OR_PLATFORM,
    CliError,
    ServerError,
    UsageError,
    exit_code,
    unforeseen,
)
from control_plane.cli.judging import Order, judge
from control_plane.cli.keeping import size, survey_document, survey_rows
from control_plane.cli.output import Output, records
from control_plane.cli.show import moment, plain, rows_table, task_tables
from control_plane.cli.timeline import Timeline
from control_plane.logs import configure_logs
from control_plane.packets.errors import PacketInvalid
from control_plane.packets.parse import MAX_BYTES, parse_packet
from control_plane.processes.ground import open_ground
from control_plane.processes.names import Part
from control_plane.processes.parts import KINDS, Serving
from control_plane.processes.retention import collector_of
from control_plane.settings import GroundSettings, Settings
from quality_gates.linting import RULES
from runners.tree_rules import PATCH_BYTES

Records = AsyncIterator[dict[str, Any]]
S = TypeVar("S", bound=GroundSettings)

_INTERRUPTED = 130
_JUDGED = frozenset({"READY_FOR_REVIEW", "REJECTED"})
"""A task with a verdict, of which nothing is under way."""
_LAST_ANSWERS_S = 5
"""For answers under way when we are told to stop; who follows a log would hold us for ever."""
_ID = re.compile(r"[0-9a-f-]{8,36}")
_ID_CHARACTERS = 36


@dataclass(frozen=True, slots=True)
class Where:
    """Which control plane; options that every command has."""

    server: str | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """Options that `check` and `run` share."""

    repo: Path
    base: str | None
    packet: Path | None
    task_type: str | None
    test_changes_allowed: bool
    dependency_changes_allowed: bool
    deadline_s: float
    explain: bool = False


def run(command: Coroutine[Any, Any, int], output: Output, *, verbose: bool = False) -> int:
    """Run a command to its exit code.

    An error of ours becomes one sentence on stderr (and a document with `--json`).
    """
    configure_logs(sys.stderr, verbose=verbose)
    try:
        return asyncio.run(_terminable(command))
    except CliError as error:
        return _refused(error, output)
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.people.print("vsc: interrupted")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- Python would exit with 1, which says that a change was judged and has failed
        if verbose:
            output.people.print_exception()
        return _refused(unforeseen(error), output)


async def _terminable(command: Coroutine[Any, Any, int]) -> int:
    """A CI's SIGTERM is a person's Ctrl-C, also in a shell's background, which ignores that."""
    if (ours := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ours.cancel)
    return await command


def _refused(error: CliError, output: Output) -> int:
    output.people.print(Text(f"vsc: {plain(error)}", style="red"), soft_wrap=True)
    if output.as_json:
        output.document({"error": {"kind": error.kind, "message": str(error)}})
    return USAGE_OR_PLATFORM


def settings() -> Settings:
    """From the environment. Raises UsageError."""
    return _settings(Settings)


def _settings(which: type[S]) -> S:
    try:
        return which()
    except ValidationError as error:
        wrong = "; ".join(
            f"VSC_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors()
        )
        raise UsageError(f"a setting cannot be used: {wrong}") from error


async def check(
    where: Where, options: JudgeOptions, output: Output, *, patch: Path | None, head: str | None
) -> int:
    """Judge a change."""
    if patch is not None and head is not None:
        raise UsageError("--patch and --head are two ways to name the change; give one of them")
    content = await asyncio.to_thread(_read_patch, patch) if patch is not None else None
    change = await worktree.change_of(options.repo, options.base, head=head, patch=content)
    order = Order(repository=change.repository, base_commit=change.base_commit, patch=change.patch)
    return await _judge(where, options, order, output)


async def run_command(where: Where, options: JudgeOptions, output: Output, argv: list[str]) -> int:
    """Run a command as the agent, and judge what it did."""
    top, commit = await worktree.base_of(options.repo, options.base)
    return await _judge(
        where, options, Order(repository=top, base_commit=commit, argv=tuple(argv)), output
    )


async def _judge(where: Where, options: JudgeOptions, order: Order, output: Output) -> int:
    if options.packet is not None and options.task_type is not None:
        raise UsageError("a packet says its type itself: leave --type out, or change the packet")
    own = settings()
    order = replace(
        order,
        task_type=options.task_type,
        packet=await asyncio.to_thread(_read_packet, options.packet) if options.packet else None,
        test_changes_allowed=options.test_changes_allowed,
        dependency_changes_allowed=options.dependency_changes_allowed,
        deadline_s=options.deadline_s,
    )
    timeline = Timeline()
    async with connected(own, where.server, where.token_file, in_process="act") as connection:
        _tell_where(connection, output)
        async with output.progress(timeline):
            judged = await judge(connection.client, order, timeline, output.tell)
        if output.form is not None and judged.report is not None:
            path = f"/v1/runs/{judged.run}/report"
            output.text(await connection.client.text(path, format=output.form))
    kept = await asyncio.to_thread(papers.keep, own.home, judged)
    papers.show(judged, kept, output, explain=options.explain)
    return _INTERRUPTED if judged.interrupted else exit_code(judged.verdict)


async def up(port: int | None, only: Part | None, output: Output) -> int:
    """Serve one part of the control plane, or all of it, until stopped."""
    kind = KINDS[only]
    own = _settings(kind.settings)
    await asyncio.to_thread(make_home, own.home)
    if kind.is_api and (already := await running(own.home)) is not None:
        raise UsageError(
            f"a control plane of {own.home} answers at {already} already; "
            "use that one, or end it first"
        )
    listener = _listener(kind.port if port is None else port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with platform_errors():
        async with kind.open(own) as serving:
            if kind.is_api:
                await _serve_api(own, serving, listener, address, output)
            else:
                _tell_up(output, f"the {only} answers health at {address}/v1/health", address)
                await _serve(serving, listener)
    return 0


async def _serve_api(
    own: GroundSettings, serving: Serving, listener: socket.socket, address: str, output: Output
) -> None:
    async with serving.services.sessions.begin() as session:
        token = await ensure_local_token(session, own.home)
    told = f"the control plane answers at {address}; its token is in {token}"
    with announced(own.home, address):
        _tell_up(output, told, address, token_file=str(token))
        await _serve(serving, listener)


def _tell_up(output: Output, told: str, address: str, **more: str) -> None:
    if output.as_json:
        output.document({"address": address, **more})
    output.people.print(f"{told}; Ctrl-C ends it", soft_wrap=True)


async def _serve(serving: Serving, listener: socket.socket) -> None:
    config = uvicorn.Config(
        serving.app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
    )
    await _Server(config).serve(sockets=[listener])


async def list_tasks(where: Where, output: Output, status: str | None, limit: int) -> int:
    """The newest tasks."""
    async with _server(where) as connection:
        page = await connection.client.get("/v1/tasks", status=status, limit=limit)
    if output.as_json:
        output.document(page)
    else:
        columns = ("key", "status", "verdict", "run_state", "created_at")
        rows = [task | {"created_at": moment(task["created_at"])} for task in page["items"]]
        output.result.print(rows_table(columns, rows))
    return 0


async def show_task(where: Where, output: Output, task: str) -> int:
    """One task."""
    async with _server(where) as connection:
        document = await connection.client.get(f"/v1/tasks/{task}")
    if output.as_json:
        output.document(document)
    else:
        for line in task_tables(document):
            output.result.print(line)
    return 0


async def submit_task(
    where: Where,
    output: Output,
    document: dict[str, Any],
    *,
    patch: Path | None = None,
    packet: Path | None = None,
    key: str | None = None,
) -> int:
    """Queue the task that `document` describes, for a repository that the control plane knows.

    `key` makes it once only.
    """
    content = await asyncio.to_thread(_read_patch, patch) if patch is not None else None
    if packet is not None:
        document = document | {"packet": await asyncio.to_thread(_read_packet, packet)}
    async with _server(where) as connection:
        if content is not None:
            document = document | {"patch": await connection.client.upload(content)}
        headers = {"idempotency_key": key} if key else {}
        task = await connection.client.post("/v1/tasks", document, **headers)
    if output.as_json:
        output.document(task)
    else:
        output.result.print(
            f"task {plain(task['key'])}, run {task['run_id']}; follow it with: "
            f"vsc logs -f {task['run_id']}"
        )
    return 0


async def judge_task(where: Where, output: Output, task: str) -> int:
    """Have a task's patch judged once more."""
    async with _server(where) as connection:
        document = await connection.client.post(f"/v1/tasks/{task}/judge")
    if output.as_json:
        output.document(document)
    else:
        run = document["run_id"]
        output.result.print(
            f"task {plain(document['key'])} is judged again in run {run}; follow it with:"
            f" vsc logs -f {run}",
            soft_wrap=True,
        )
    return 0


async def cancel_task(where: Where, output: Output, task: str, *, anyway: bool) -> int:
    """Ask for the end of a task. One whose run has ended is only cancelled `anyway`."""
    async with _server(where) as connection:
        known = await connection.client.get(f"/v1/tasks/{task}")
        if known["status"] in _JUDGED and not anyway:
            raise UsageError(
                f"nothing of task {plain(known['key'])} is under way: it is {known['status']}; "
                "--anyway cancels it for good"
            )
        document = await connection.client.post(f"/v1/tasks/{task}/cancel")
    if output.as_json:
        output.document(document)
    else:
        output.result.print(
            f"task {plain(document['key'])} is cancelled"
            if document["status"] == "CANCELLED"
            else f"task {plain(document['key'])} is asked to stop; "
            f"its run is {plain(document['run_state'])}"
        )
    return 0


async def logs(
    where: Where, output: Output, which: str, *, follow: bool, stage: str | None, stream: str | None
) -> int:
    """The log of a run, or of a task: its session, then its judge run.

    Without a control plane nothing goes on that could be followed.
    """
    end: dict[str, Any] | None = None
    asked, empty = {"stage": stage, "stream": stream}, True
    async with _server(where, in_process=None if follow else "read") as connection:
        async for record in _log(connection.client, which, follow=follow, **asked):
            empty = empty and bool(record.get("end"))
            if record.get("end"):
                end = record
            elif not output.as_json:
                sys.stdout.write(plain(record["text"]))
                sys.stdout.flush()
            if output.as_json and not record.get("end"):
                records(record)
    if end is None:
        raise CliError("the log broke off before its end; ask for it again")
    if output.as_json:
        records(end)
    if empty:
        wanted = " ".join(f"--{name} {word}" for name, word in asked.items() if word)
        output.tell(
            f"nothing was logged with {wanted}; leave that out to see the whole log"
            if wanted
            else "nothing was logged"
        )
    if follow:
        output.tell(
            f"run {end['state']}, verdict {end['verdict'] or 'none'} {end['cause']}".rstrip()
        )
    return 0


async def _log(client: Client, which: str, *, follow: bool, **wanted: str | None) -> Records:
    """The records of a run; of a task, those of its session and then of its judge run."""
    kind, named = await _meant(client, which)
    if kind == "runs":
        async for record in client.log(named, follow=follow, **wanted):
            yield record
        return
    read: set[str] = set()
    while unread := [run for run in await _halves(client, named) if run not in read]:
        read.add(unread[0])
        async for record in client.log(unread[0], follow=follow, **wanted):
            yield record


async def _halves(client: Client, task: str) -> list[str]:
    """The task's newest session and judge run, as far as there are any."""
    document = await client.get(f"/v1/tasks/{task}")
    return [document[half]["id"] for half in ("session", "judgement") if document[half]]


async def report(where: Where, output: Output, which: str, form: str, into: Path | None) -> int:
    """The report of a task or a run."""
    async with _server(where, in_process="read") as connection:
        kind, named = await _meant(connection.client, which)
        text = await connection.client.text(f"/v1/{kind}/{named}/report", format=form)
    if form == "json":
        text = json.dumps(json.loads(text), indent=2) + "\n"
    if into is None:
        output.text(text)
    else:
        await asyncio.to_thread(into.write_text, text, "utf-8")
        output.tell(f"written to {into}")
    return 0


async def collect(output: Output, *, now: bool) -> int:
    """What the collector would do, or (with `now`) does."""
    with platform_errors():
        async with open_ground(settings()) as ground:
            collector = collector_of(ground)
            survey = await (collector.collect() if now else collector.survey())
    if output.as_json:
        output.document(survey_document(survey, collected=now))
    else:
        output.result.print(rows_table(("kind", "stays", "goes"), survey_rows(survey)))
        said = "collected" if now else "would be collected"
        if survey.gone_bytes and not now:
            said += "; `vsc gc --now` does it"
        output.people.print(f"{size(survey.gone_bytes)} {said}", soft_wrap=True)
    return 0


async def examine(output: Output) -> int:
    """Look at the machine."""
    output.tell("looking at the engine, the images, the disk and the database")
    findings = await doctor.examine(settings())
    worst = any(finding.state == "fail" for finding in findings)
    if output.as_json:
        output.document({"ok": not worst, "checks": [asdict(finding) for finding in findings]})
    else:
        styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        for finding in findings:
            line = Text(f"{finding.state:4} ", style=styles[finding.state])
            output.result.print(
                line.append(f"{finding.name}: {plain(finding.detail)}", style="default"),
                soft_wrap=True,
            )
            if finding.advice:
                output.result.print(
                    Text(f"       {plain(finding.advice)}", style="dim"), soft_wrap=True
                )
    return 2 if worst else 0


class _Server(uvicorn.Server):
    """uvicorn's server without its last act.

    It would raise the signal again, and so kill us before the house is in order.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal ends serving, and then everything in turn.

        The second one does not wait for open requests.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _server(
    where: Where, in_process: Literal["read"] | None = None
) -> "contextlib._AsyncGeneratorContextManager[Connection]":
    return connected(settings(), where.server, where.token_file, in_process=in_process)


def _tell_where(connection: Connection, output: Output) -> None:
    output.tell(
        f"through the control plane at {connection.address}"
        if connection.address
        else "no control plane runs here; this command is one for as long as it takes"
    )


def _read_patch(path: Path) -> bytes:
    content = (
        sys.stdin.buffer.read(PATCH_BYTES + 1)
        if str(path) == "-"
        else _read(path, PATCH_BYTES, "the patch")
    )
    if len(content) > PATCH_BYTES:
        raise UsageError(f"the patch has more than {PATCH_BYTES} bytes; split the change")
    return content


def _read(path: Path, max_bytes: int, what: str) -> bytes:
    """At most one byte more than `max_bytes`, also of what never ends."""
    try:
        with path.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {path}: {error.strerror}; name a file") from error


def _read_packet(path: Path) -> dict[str, Any]:
    try:
        return parse_packet(_read(path, MAX_BYTES, "the packet"), linting_rules=RULES).document()
    except PacketInvalid as error:
        raise UsageError(f"{path}: {error}") from error


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {port} cannot be used ({error.strerror}); choose another one with --port"
        ) from error
    return listener


async def _meant(client: Client, which: str) -> tuple[Literal["runs", "tasks"], str]:
    """A run by its id or the beginning of it, else a task by key or id.

    Raises UsageError, ServerError.
    """
    if not _ID.fullmatch(which):
        return "tasks", which
    if len(which) == _ID_CHARACTERS:
        try:
            return "runs", str((await client.get(f"/v1/runs/{which}"))["id"])
        except ServerError as error:
            if error.kind != "not_found":
                raise
            return "tasks", which
    newest = (await client.get("/v1/runs", limit=200))["items"]
    found = [str(run["id"]) for run in newest if run["id"].startswith(which)]
    if len(found) > 1:
        raise UsageError(
            f"{which} is the beginning of {len(found)} runs; "
            "give more of it, or the key of the task"
        )
    return ("runs", found[0]) if found else ("tasks", which)

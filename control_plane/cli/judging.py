"""`vsc check` and `vsc run`: bring a change or a command to a control plane, and follow it."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control_plane.cli.client import Client, Document
from control_plane.cli.errors import ServerError
from control_plane.cli.timeline import Timeline

_CHILDREN_EVERY_S = 0.7
_CANCEL_S = 60.0
_TAIL_LINES = 20
_TAIL_CHARACTERS = 16 * 2**10


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be judged, and how. Either `patch` or `argv`."""

    repository: Path
    base_commit: str
    patch: bytes | None = None
    argv: tuple[str, ...] = ()
    packet: Mapping[str, Any] | None = None
    task_type: str | None = None
    test_changes_allowed: bool = False
    dependency_changes_allowed: bool = False
    deadline_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Judged:
    """How it ended. `report` None: the run ended without one, and `cause` says why."""

    task: str
    session: str | None
    """The run in which a command made the change; None: the change was brought."""
    run: str
    """The judge run; the session, if that left nothing to judge."""
    state: str
    verdict: str | None
    cause: str
    base_commit: str
    patch_sha256: str | None
    report: Document | None
    markdown: str | None
    patch: bytes | None
    """What a command left, finished or not; None: nothing, or the patch was the caller's own."""
    output: Mapping[str, str]
    """The ends of a command's stdout and stderr, where no gate says what is wrong."""
    interrupted: bool
    timeline: Timeline = field(repr=False)

    def to_json(self) -> Document:
        """What `--json` prints. A gate has at least `gate`, `verdict` and `reasons`."""
        report = self.report or {"gates": [], "notes": []}
        return {
            "verdict": self.verdict,
            "base_trouble": report.get("base_trouble", ""),
            "gates": report["gates"],
            "notes": report.get("notes", []),
            "task": self.task,
            "session": self.session,
            "run": self.run,
            "state": self.state,
            "cause": self.cause,
            "base_commit": self.base_commit,
            "patch_sha256": self.patch_sha256,
            "output": dict(self.output),
            "stages": self.timeline.stages(),
        }


def repository_key(repository: Path) -> str:
    """The key under which a directory of this machine is imported: the same one every time."""
    name = "".join(
        character if character.isascii() and character.isalnum() else "-"
        for character in repository.name
    )
    digest = hashlib.sha256(str(repository).encode("utf-8", "surrogateescape")).hexdigest()
    return f"local-{name[:40]}-{digest[:12]}"


async def judge(
    client: Client, order: Order, timeline: Timeline, tell: Callable[[str], None]
) -> Judged:
    """Submit the order and follow its run to the end.

    A cancelled wait cancels the task, and then says so in the answer.

    Raises:
        ServerError: the control plane refuses the order or does not answer.
    """
    key = repository_key(order.repository)
    tell(f"importing {order.repository}")
    source = {"kind": "path", "path": str(order.repository), "commit": order.base_commit}
    await client.post("/v1/repositories", {"key": key, "source": source})
    task = await client.post("/v1/tasks", await _submission(client, key, order))
    tell(f"task {task['key']}, run {task['run_id']}")
    try:
        await _follow_task(client, task, timeline)
    except asyncio.CancelledError:
        tell("cancelling the task; interrupt once more to leave it to the next control plane")
        with contextlib.suppress(ServerError, TimeoutError):
            async with asyncio.timeout(_CANCEL_S):
                await client.post(f"/v1/tasks/{task['id']}/cancel")
                # in this process: who leaves now, leaves the sandbox running
                await _follow_task(client, task, Timeline())
        with contextlib.suppress(ServerError):
            judged = await _judged(client, task, timeline, interrupted=True)
            if (ours := asyncio.current_task()) is not None:
                # it is answered; what still closes down is not to be taken for cancelled
                ours.uncancel()
            return judged
        raise
    except ServerError as error:
        raise _left_alone(task, error) from error
    return await _judged(client, task, timeline)


def _left_alone(task: Document, error: ServerError) -> ServerError:
    """What becomes of a task whose control plane does not answer any more."""
    if error.kind != "unreachable":
        return error
    return ServerError(
        error.kind,
        f"{error}\nnothing is lost: the next control plane goes on with task {task['key']}; then"
        f" `vsc logs -f {task['key']}` follows it, and `vsc report {task['key']}` has the evidence",
    )


async def _submission(client: Client, key: str, order: Order) -> Document:
    change: Document = {"driver": {"kind": "command", "argv": list(order.argv)}}
    if order.patch is not None:
        change = {"patch": await client.upload(order.patch)}
    return {
        "repository": key,
        "base": order.base_commit,
        **change,
        "packet": order.packet,
        "task_type": order.task_type,
        "test_changes_allowed": order.test_changes_allowed,
        "dependency_changes_allowed": order.dependency_changes_allowed,
        "deadline_s": order.deadline_s,
    }


async def _follow_task(client: Client, task: Document, timeline: Timeline) -> None:
    """To the end of the session, if there is one, and of the judge run, if one follows."""
    run_id = task["run_id"]
    await _follow(client, run_id, timeline)
    newest = (await client.get(f"/v1/tasks/{task['id']}"))["run_id"]
    if newest != run_id:
        await _follow(client, newest, timeline)


async def _follow(client: Client, run_id: str, timeline: Timeline) -> None:
    """Feed the timeline with the run's events, and those of the shared runs that it awaits."""
    children = asyncio.create_task(_follow_children(client, run_id, timeline))
    try:
        async for event in client.events(run_id):
            timeline.feed(event)
    finally:
        children.cancel()
        await asyncio.gather(children, return_exceptions=True)


async def _follow_children(client: Client, run_id: str, timeline: Timeline) -> None:
    """Shared runs are only shown: whatever goes wrong here changes nothing."""
    seen: set[str] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            with contextlib.suppress(ServerError):
                child = (await client.get(f"/v1/runs/{run_id}"))["waiting_for"]
                if child is not None and child not in seen:
                    seen.add(child)
                    group.create_task(_follow_child(client, child, timeline))
            await asyncio.sleep(_CHILDREN_EVERY_S)


async def _follow_child(client: Client, child: str, timeline: Timeline) -> None:
    with contextlib.suppress(ServerError):
        kind = (await client.get(f"/v1/runs/{child}"))["kind"]
        async for event in client.events(child):
            timeline.feed(event, shared=kind)


async def _judged(
    client: Client, task: Document, timeline: Timeline, *, interrupted: bool = False
) -> Judged:
    now = await client.get(f"/v1/tasks/{task['id']}")
    session, judgement = now["session"], now["judgement"]
    run = judgement or session
    report = markdown = None
    if run["verdict"] is not None:
        report = await client.get(f"/v1/runs/{run['id']}/report")
        markdown = await client.text(f"/v1/runs/{run['id']}/report", format="md")
    patch, output = None, {}
    if session is not None and session["session"]["patch_sha256"] is not None:
        patch = await client.content(f"/v1/runs/{session['id']}/patch") or None
    if session is not None and not (report and report["gates"]):
        output = await _tails(client, session["id"])
    return Judged(
        task=task["key"],
        session=session["id"] if session is not None else None,
        run=run["id"],
        state=run["state"],
        verdict=run["verdict"],
        cause=run["cause"],
        base_commit=run["base_commit"],
        patch_sha256=_patch_sha256(session, judgement),
        report=report,
        markdown=markdown,
        patch=patch,
        output=output,
        interrupted=interrupted,
        timeline=timeline,
    )


def _patch_sha256(session: Document | None, judgement: Document | None) -> str | None:
    """Of the patch that was judged, else of what the session left."""
    if judgement is not None:
        return str(judgement["judgement"]["patch_sha256"])
    return session["session"]["patch_sha256"] if session is not None else None


async def _tails(client: Client, run_id: str) -> dict[str, str]:
    """The last lines of the command's stdout and stderr; of a stream that said nothing, nothing."""
    ends: dict[str, str] = {}
    async for record in client.log(run_id, stage="execute"):
        if not record.get("end"):
            stream = record["stream"]
            ends[stream] = (ends.get(stream, "") + record["text"])[-_TAIL_CHARACTERS:]
    return {stream: "\n".join(text.splitlines()[-_TAIL_LINES:]) for stream, text in ends.items()}

"""`vsc`: the commands and their options.

What they do is in `commands.py`, which is imported when one runs.
"""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from control_plane.cli.formats import ReportFormat
from control_plane.cli.output import Output
from control_plane.processes.names import Part
from quality_gates.model import TaskType

app = typer.Typer(
    name="vsc",
    help="The Virtual Software Company: agents' work in sandboxes, judged by evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
task_app = typer.Typer(help="Tasks of a running control plane.", no_args_is_help=True)
app.add_typer(task_app, name="task")

Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log what the control plane does, on stderr.")
]
Server = Annotated[
    str | None,
    typer.Option(
        help="Address of a control plane; without it the `vsc up` of this machine, if one runs."
    ),
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the operator token; or set VSC_TOKEN.")
]
Repo = Annotated[Path, typer.Option(help="A git repository.")]
Base = Annotated[
    str | None, typer.Option(help="The revision that the change starts from. Default: HEAD.")
]
Packet = Annotated[
    Path | None, typer.Option(help="A ContextPacket; without it FEATURE, coverage 0.8, MEDIUM.")
]
TestChanges = Annotated[
    bool,
    typer.Option(
        "--allow-test-changes", help="The change may edit tests that exist, and their settings."
    ),
]
DependencyChanges = Annotated[
    bool,
    typer.Option("--allow-dependency-changes", help="The change may add or change requirements."),
]
Type = Annotated[
    TaskType | None,
    typer.Option(
        "--type",
        case_sensitive=False,
        help="What the change is, without a packet. Default: FEATURE.",
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Say what each gate asks, what it saw, what to do next.")
]
DEADLINE_S = 900.0
Deadline = Annotated[
    float, typer.Option("--deadline", min=1, max=86_400, help="Seconds that the command may run.")
]


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="On 127.0.0.1; 0: any free one. Default: 8420 (orchestrator 8421, gateway 8422).",
        ),
    ] = None,
    only: Annotated[
        Part | None, typer.Option(help="One part of it. Default: all three in this process.")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> NoReturn:
    """Run the control plane in the foreground: API, orchestrator and gateway, or one of them."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    raise typer.Exit(commands.run(commands.up(port, only, output), output, verbose=verbose))


@app.command()
def check(
    repo: Repo = Path(),
    base: Annotated[
        str | None,
        typer.Option(help="Default: HEAD; with --head, where that left the main branch."),
    ] = None,
    patch: Annotated[
        Path | None, typer.Option(help="A patch that applies to the base; - reads stdin.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="A revision; the change is what leads there from the base.")
    ] = None,
    packet: Packet = None,
    task_type: Type = None,
    allow_test_changes: TestChanges = False,
    allow_dependency_changes: DependencyChanges = False,
    explain: Explain = False,
    form: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="The report on stdout in this form; the rest on stderr."),
    ] = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> NoReturn:
    """Judge a change: without --patch and --head, what is uncommitted.

    Exit code: 0 passed, 1 failed, 2 usage or platform, 3 any other verdict, 130 interrupted.
    """
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    if as_json and form is not None:
        raise typer.BadParameter("--json and --format are two things to have on stdout; give one")
    output = Output(as_json=as_json, form=form)
    options = commands.JudgeOptions(
        repo,
        base,
        packet,
        task_type,
        allow_test_changes,
        allow_dependency_changes,
        DEADLINE_S,
        explain,
    )
    where = commands.Where(server, token_file)
    raise typer.Exit(
        commands.run(
            commands.check(where, options, output, patch=patch, head=head), output, verbose=verbose
        )
    )


@app.command()
def run(
    command: Annotated[
        list[str], typer.Argument(help="What the agent's sandbox runs, after `--`.")
    ],
    repo: Repo = Path(),
    base: Base = None,
    packet: Packet = None,
    task_type: Type = None,
    allow_test_changes: TestChanges = False,
    allow_dependency_changes: DependencyChanges = False,
    deadline: Deadline = DEADLINE_S,
    explain: Explain = False,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> NoReturn:
    """Run a command as the agent in a sandbox, and judge the patch that it leaves.

    Exit codes as `check`.
    """
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    options = commands.JudgeOptions(
        repo,
        base,
        packet,
        task_type,
        allow_test_changes,
        allow_dependency_changes,
        deadline,
        explain,
    )
    where = commands.Where(server, token_file)
    raise typer.Exit(
        commands.run(commands.run_command(where, options, output, command), output, verbose=verbose)
    )


@task_app.command("list")
def task_list(
    status: Annotated[str | None, typer.Option(help="Only tasks of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> NoReturn:
    """The newest tasks."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    raise typer.Exit(
        commands.run(
            commands.list_tasks(commands.Where(server, token_file), output, status, limit), output
        )
    )


@task_app.command("show")
def task_show(
    task: str, server: Server = None, token_file: TokenFile = None, as_json: Json = False
) -> NoReturn:
    """One task, by key or id."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    raise typer.Exit(
        commands.run(commands.show_task(commands.Where(server, token_file), output, task), output)
    )


@task_app.command("submit")
def task_submit(
    repository: Annotated[
        str, typer.Argument(help="Key of a repository that was imported, as `vsc check` does.")
    ],
    command: Annotated[
        list[str] | None, typer.Argument(help="What the agent runs, after `--`.")
    ] = None,
    patch: Annotated[Path | None, typer.Option(help="Or: a patch; - reads stdin.")] = None,
    base: Annotated[str, typer.Option(help="The revision to start from.")] = "HEAD",
    module: Annotated[str | None, typer.Option(help="Key of a module.")] = None,
    packet: Packet = None,
    task_type: Type = None,
    allow_test_changes: TestChanges = False,
    allow_dependency_changes: DependencyChanges = False,
    deadline: Deadline = DEADLINE_S,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and request make one task.")
    ] = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> NoReturn:
    """Queue a task and return at once."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    if bool(command) == (patch is not None):
        raise typer.BadParameter("give either a command after `--`, or --patch")
    document = {
        "repository": repository,
        "base": base,
        "driver": {"kind": "command", "argv": command} if command else None,
        "module": module,
        "task_type": task_type,
        "test_changes_allowed": allow_test_changes,
        "dependency_changes_allowed": allow_dependency_changes,
        "deadline_s": deadline,
    }
    output = Output(as_json=as_json)
    where = commands.Where(server, token_file)
    submitting = commands.submit_task(
        where, output, document, patch=patch, packet=packet, key=idempotency_key
    )
    raise typer.Exit(commands.run(submitting, output))


@task_app.command("cancel")
def task_cancel(
    task: str,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also a task that was judged: it is never taken up.")
    ] = False,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> NoReturn:
    """Ask for the end of a task; what it had done is kept as a patch."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    raise typer.Exit(
        commands.run(
            commands.cancel_task(commands.Where(server, token_file), output, task, anyway=anyway),
            output,
        )
    )


@app.command()
def judge(
    task: str, server: Server = None, token_file: TokenFile = None, as_json: Json = False
) -> NoReturn:
    """Have a task's patch judged once more: in fresh sandboxes, without a new session."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    raise typer.Exit(
        commands.run(commands.judge_task(commands.Where(server, token_file), output, task), output)
    )


@app.command()
def logs(
    which: Annotated[
        str,
        typer.Argument(metavar="TASK|RUN", help="A key, an id, or the beginning of a run's id."),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends.")
    ] = False,
    stage: Annotated[
        str | None, typer.Option(help="Only this stage: execute, static, head...")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="stdout, stderr or tests; default: the first two.")
    ] = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> NoReturn:
    """The log of a run, or of a task (session, then judge run); --json: one record a line."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    where = commands.Where(server, token_file)
    raise typer.Exit(
        commands.run(
            commands.logs(where, output, which, follow=follow, stage=stage, stream=stream), output
        )
    )


@app.command()
def report(
    which: Annotated[
        str,
        typer.Argument(metavar="TASK|RUN", help="A key, an id, or the beginning of a run's id."),
    ],
    form: Annotated[
        ReportFormat | None, typer.Option("--format", help="Default: md.", show_default=False)
    ] = None,
    into: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file.")] = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> NoReturn:
    """The report of a task or of a run."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    chosen = form or ("json" if as_json else "md")
    output = Output(as_json=as_json)
    where = commands.Where(server, token_file)
    raise typer.Exit(commands.run(commands.report(where, output, which, chosen, into), output))


@app.command()
def gc(
    now: Annotated[bool, typer.Option("--now", help="Delete it.")] = False, as_json: Json = False
) -> NoReturn:
    """Show what nothing names any more, by kind, in blobs and bytes; delete it with `--now`."""
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    raise typer.Exit(commands.run(commands.collect(output, now=now), output))


@app.command()
def doctor(as_json: Json = False) -> NoReturn:
    """Look at this machine: engine, runc, images, mounts, database, disk, git.

    Exit code 2 if something must be done.
    """
    from control_plane.cli import commands  # noqa: PLC0415 -- `vsc --help` must not wait for the whole platform

    output = Output(as_json=as_json)
    raise typer.Exit(commands.run(commands.examine(output), output))


def main() -> None:
    """The console script."""
    app()

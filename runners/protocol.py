"""The words between control plane and runner: paths, capsule, result, and the door's verbs.

The runner shares the uid of the code it runs, so a reader of `Result` or of events trusts none of
it (DESIGN section 5).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from quality_gates import where
from quality_gates.toolrun import ToolRun

PROTOCOL_VERSION = 1

WORKSPACE, ENV, OUT = where.WORKSPACE, where.ENV, where.OUT
PACKET = f"{where.INPUTS}/packet.json"
CAPSULE = f"{where.INPUTS}/capsule.json"
RUNNER = f"{where.INPUTS}/runner.pyz"
DOOR = "/run/vsc/door.sock"
"""The HTTP verbs. `EGRESS_SOCKET` beside it takes CONNECT, where the stage may leave."""
EGRESS_SOCKET = "egress.sock"
GATEWAY_PORT = 8377
"""The relay listens on 127.0.0.1 at this port; `VSC_GATEWAY_PORT` carries it to the driver."""

COMMAND = (f"{where.IMAGE}/bin/python", "-I", "-S", RUNNER, "supervise")
"""What every sandbox runs as PID 1.

`-S`: no site-packages are wanted, and looking for them is a tenth of its start.
"""

RESULT = "result.json"
"""The output in which the supervisor says how the driver ended.

Missing or invalid: the control plane makes one.
"""

Stream = Literal["stdout", "stderr", "tests"]
"""`tests` carries one JSON test event a line."""


@dataclass(frozen=True, slots=True)
class CommandDriver:
    """`argv` in the workspace; its output goes to the log."""

    argv: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolsDriver:
    """The tools, side by side as far as `after` allows; each result is reported as it comes."""

    tools: tuple[ToolRun, ...]


@dataclass(frozen=True, slots=True)
class PrepareDriver:
    """The tools one after another, then the layers of `directory` into the outputs."""

    tools: tuple[ToolRun, ...]
    directory: str = ENV


Driver = CommandDriver | ToolsDriver | PrepareDriver
"""What the supervisor executes."""
DRIVERS: Mapping[str, type[Driver]] = {
    "command": CommandDriver,
    "tools": ToolsDriver,
    "prepare": PrepareDriver,
}
"""The one table of kinds: the tag in a capsule, which `runners/drivers/<tag>.py` runs."""


def kind_of(driver: Driver) -> str:
    """The tag of a driver."""
    return next(tag for tag, kind in DRIVERS.items() if isinstance(driver, kind))


TESTS_BYTES = 64 * 2**20
"""The record of 100,000 tests whose ids have 150 characters takes 55 MiB of it."""


@dataclass(frozen=True, slots=True)
class Capsule:
    """The part of a capsule manifest that the runner acts on (`/vsc/capsule.json`)."""

    run: str
    stage: str
    driver: Driver
    deadline_s: float
    grace_s: float = 5.0
    """Seconds after the driver's end in which all its processes end and the result is written."""
    upload_s: float = 15.0
    """Seconds after that in which a door that is slow, or starts again, still gets the log."""
    log_bytes: int = 8 * 2**20
    """Bytes of one log that are kept; what follows is counted and named in the result."""
    tests_bytes: int = TESTS_BYTES
    """The same of the test events: evidence, which is whole or worth nothing."""
    door: bool = False
    """Whether a door is served, which may be away for a while, also at the start.

    Without one, and where none is there either, streams go to the engine's log.
    """
    relay: bool = False
    """Whether `127.0.0.1:GATEWAY_PORT` is served."""
    protocol: int = PROTOCOL_VERSION

    def to_json(self) -> dict[str, Any]:
        """The document; `capsule_from_json` reads it back."""
        return asdict(self) | {"driver": {"kind": kind_of(self.driver), **asdict(self.driver)}}


def capsule_from_json(document: dict[str, Any]) -> Capsule:
    """Read a capsule.

    Raises ValueError for another protocol version, TypeError or KeyError for another shape.
    """
    if document.get("protocol") != PROTOCOL_VERSION:
        raise ValueError(
            f"capsule protocol {document.get('protocol')!r}; this runner speaks {PROTOCOL_VERSION}"
        )
    return Capsule(**{**document, "driver": _driver(document["driver"])})


def _driver(document: dict[str, Any]) -> Driver:
    fields = dict(document)
    kind = fields.pop("kind", None)
    if kind not in DRIVERS:
        raise ValueError(f"driver {kind!r} is not one of {', '.join(DRIVERS)}")
    if "argv" in fields:
        fields["argv"] = tuple(fields["argv"])
    if "tools" in fields:
        fields["tools"] = tuple(_tool(tool) for tool in fields["tools"])
    return DRIVERS[kind](**fields)


def _tool(document: dict[str, Any]) -> ToolRun:
    lists = {name: tuple(document.get(name, ())) for name in ("argv", "after")}
    return ToolRun(**{**document, **lists})


Outcome = Literal["exited", "signaled", "deadline", "terminated", "refused"]
"""`refused`: the driver could not start or the capsule made no sense; the reason is in `detail`."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How one command of a plan ended."""

    name: str
    exit_code: int | None
    """None: it did not exit by itself (time-out, signal, never started)."""
    timed_out: bool
    duration_s: float
    output_bytes: int
    truncated: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The supervisor's word on the driver (`/out/result.json`)."""

    outcome: Outcome
    exit_code: int | None
    duration_s: float
    detail: str = ""
    tools: tuple[ToolResult, ...] = ()
    dropped_bytes: dict[str, int] = field(default_factory=dict)
    door_away: bool = False
    """Nobody took the rest of what was to be sent, until the time for it was over."""
    protocol: int = PROTOCOL_VERSION


# Through the door, HTTP/1.1, one request a connection; JSON bodies of at most 1 MiB:
#   GET  /capsule   the capsule's bytes
#   POST /chunks    {"chunks": [{"stream": Stream, "seq": int, "data": base64}]}, at most 64
#                   -> {"next": {stream: int}}
#   POST /submit    a document -> {"sha256"}, or 422 {"error", "errors", "tries_left"}
# Chunks of a stream are numbered from 0 without gaps. One already known is answered and dropped
# (so the runner resends what it is not sure of), one that leaves a gap is a 409. 413: the stream
# takes no more. 429: later, and more in one request.
# Through `egress.sock`: CONNECT host:port, by the run's allowlist; else 403, and an audit line
# either way.
MAX_CHUNK_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class TestEvent:
    """One line of the `tests` stream, written by our pytest plugin the moment it happens.

    `collected`: the ids, in batches of at most 200. `started`, `finished`: one test. `session`:
    pytest's end, with its exit code. `dropped`: the runner's own last line where more came than is
    kept, with the number of bytes that are missing.
    """

    __test__ = False  # pytest: this is not a test class

    kind: Literal["collected", "started", "finished", "error", "session", "dropped"]
    ids: tuple[str, ...] = ()
    id: str = ""
    outcome: Literal["", "passed", "failed", "skipped", "xfailed", "xpassed", "error"] = ""
    duration_s: float = 0.0
    detail: str = ""
    """At most 4,000 characters of the failure's text."""
    exit_code: int | None = None
    bytes: int = 0

"""The one table from our errors to what people are told: status, who must act, what to do next.

A message says what is wrong, and on what. What is not in the table is a bug: 500. On the command
line every one of them is exit 2 (`control_plane.cli.errors`).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from control_plane.db.errors import DatabaseUnavailable, MigrationFailed
from control_plane.db.finding import NotFound
from control_plane.packets.errors import PacketInvalid, PacketTaken
from control_plane.projects.service import KeyTaken
from control_plane.repos.git import RepositoryError
from control_plane.retention.errors import AlreadyCollecting, StoreNotJoined
from control_plane.runs.errors import IllegalMove, LeaseLost
from control_plane.sessions.documents import SchemaUnusable
from control_plane.sessions.errors import PartOfTask
from control_plane.sites.errors import BlobsElsewhere, StoreTaken
from control_plane.tasks.errors import IdempotencyConflict, NotJudgedAgain
from sandboxes.errors import BlobMissing, DepotUnavailable, SandboxError, TooLarge


class Who(StrEnum):
    """Who must act."""

    SENDER = "sender"
    """Whoever sent the request, or typed the command."""
    OPERATOR = "operator"
    """Whoever runs the platform."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error is told: `kind` is stable and machine-readable, `next` is a sentence."""

    kind: str
    http_status: int
    who: Who
    next: str


_READY = "`vsc doctor` and /v1/health/ready say which part is not fit; try again when it is"
BUG = Answer("internal", 500, Who.OPERATOR, "report it with the trace in the log of `vsc up`")
ANSWERS: dict[type[Exception], Answer] = {
    PacketInvalid: Answer(
        "packet_invalid", 422, Who.SENDER, "change the packet at each path that `errors` names"
    ),
    PacketTaken: Answer(
        "packet_taken", 409, Who.SENDER, "send the changed packet under a packet_id of its own"
    ),
    KeyTaken: Answer("key_taken", 409, Who.SENDER, "choose another key"),
    RepositoryError: Answer(
        "repository",
        422,
        Who.SENDER,
        "change the repository, the revision or the patch as the message says, and send it again",
    ),
    IdempotencyConflict: Answer(
        "idempotency_conflict", 422, Who.SENDER, "send another submission under a new key"
    ),
    SchemaUnusable: Answer(
        "schema_unusable", 422, Who.SENDER, "change output_schema where the message points"
    ),
    PartOfTask: Answer("part_of_task", 409, Who.SENDER, "cancel the task"),
    NotJudgedAgain: Answer(
        "not_judged_again", 409, Who.SENDER, "wait for its run, or submit the change again"
    ),
    BlobMissing: Answer(
        "blob_missing",
        404,
        Who.SENDER,
        "upload the bytes (POST /v1/blobs) and send it again; what a run left may be past its time",
    ),
    TooLarge: Answer("too_large", 413, Who.SENDER, "send less"),
    AlreadyCollecting: Answer(
        "already_collecting", 409, Who.SENDER, "wait until the other process has ended"
    ),
    StoreNotJoined: Answer(
        "store_not_joined", 503, Who.OPERATOR, "set VSC_DATABASE_URL and VSC_BLOBS as a pair"
    ),
    StoreTaken: Answer(
        "store_taken", 503, Who.OPERATOR, "set VSC_DATABASE_URL and VSC_BLOBS as a pair"
    ),
    BlobsElsewhere: Answer(
        "blobs_elsewhere", 503, Who.OPERATOR, "set VSC_BLOBS to what the other homes have"
    ),
    DepotUnavailable: Answer("blobs_unavailable", 503, Who.OPERATOR, _READY),
    NotFound: Answer("not_found", 404, Who.SENDER, "look for the right key or id in the list"),
    IllegalMove: Answer(
        "illegal_move", 409, Who.SENDER, "read it again, as it has moved on, and ask for less"
    ),
    LeaseLost: Answer("lease_lost", 409, Who.SENDER, "read it again, and try again"),
    DatabaseUnavailable: Answer("database_unavailable", 503, Who.OPERATOR, _READY),
    MigrationFailed: Answer(
        "migration_failed", 503, Who.OPERATOR, "mend what the message names, then start `vsc up`"
    ),
    SandboxError: Answer("sandbox", 503, Who.OPERATOR, _READY),
}
HTTP = {
    400: Answer("http_400", 400, Who.SENDER, "change the request as the message says"),
    401: Answer("unauthenticated", 401, Who.SENDER, "send the token that `vsc up` names"),
    403: Answer("http_403", 403, Who.SENDER, "ask for it another way, as the message says"),
    404: Answer("http_404", 404, Who.SENDER, "look at /v1/openapi.json for what there is"),
    405: Answer("http_405", 405, Who.SENDER, "look at /v1/openapi.json for what there is"),
    413: Answer("http_413", 413, Who.SENDER, "send less"),
    415: Answer("http_415", 415, Who.SENDER, "send the body as the message says"),
    422: Answer("invalid", 422, Who.SENDER, "change the request at each path of `errors`"),
    503: Answer("http_503", 503, Who.OPERATOR, _READY),
}
"""Of what no error class of ours stands for, by status."""


def answer_with(status: int) -> Answer:
    """The row of a bare HTTP status."""
    nearest = 400 if status < 500 else 503
    return HTTP.get(status) or replace(HTTP[nearest], kind=f"http_{status}", http_status=status)


def answer_to(error: BaseException) -> Answer:
    """The row of the nearest class of `error` that has one."""
    return next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), BUG)

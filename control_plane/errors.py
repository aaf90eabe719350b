"""The one table from our errors to HTTP statuses and CLI exit codes.

An error class says who must act; its message says what to do next. What is not in the table is a
bug: 500, and exit 2.
"""

from dataclasses import dataclass

from control_plane.db.errors import DatabaseUnavailable, MigrationFailed
from control_plane.db.finding import NotFound
from control_plane.packets.errors import PacketInvalid, PacketTaken
from control_plane.projects.service import KeyTaken
from control_plane.repos.git import RepositoryError
from control_plane.retention.errors import AlreadyCollecting
from control_plane.runs.errors import IllegalMove, LeaseLost
from control_plane.sessions.documents import SchemaUnusable
from control_plane.sites.errors import BlobsElsewhere
from control_plane.tasks.errors import IdempotencyConflict, NotJudgedAgain
from sandboxes.errors import BlobMissing, DepotUnavailable, SandboxError, TooLarge


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error is told: `kind` is stable and machine-readable."""

    kind: str
    http_status: int
    exit_code: int


BUG = Answer("internal", 500, 2)
ANSWERS: dict[type[Exception], Answer] = {
    PacketInvalid: Answer("packet_invalid", 422, 2),
    PacketTaken: Answer("packet_taken", 409, 2),
    KeyTaken: Answer("key_taken", 409, 2),
    RepositoryError: Answer("repository", 422, 2),
    IdempotencyConflict: Answer("idempotency_conflict", 422, 2),
    SchemaUnusable: Answer("schema_unusable", 422, 2),
    NotJudgedAgain: Answer("not_judged_again", 409, 2),
    BlobMissing: Answer("blob_missing", 404, 2),
    TooLarge: Answer("too_large", 413, 2),
    AlreadyCollecting: Answer("already_collecting", 409, 2),
    BlobsElsewhere: Answer("blobs_elsewhere", 503, 2),
    DepotUnavailable: Answer("blobs_unavailable", 503, 2),
    NotFound: Answer("not_found", 404, 2),
    IllegalMove: Answer("illegal_move", 409, 2),
    LeaseLost: Answer("lease_lost", 409, 2),
    DatabaseUnavailable: Answer("database_unavailable", 503, 2),
    MigrationFailed: Answer("migration_failed", 503, 2),
    SandboxError: Answer("sandbox", 503, 2),
}


def answer_to(error: BaseException) -> Answer:
    """The row of the nearest class of `error` that has one."""
    return next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), BUG)

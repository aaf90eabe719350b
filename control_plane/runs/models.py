"""Runs and what belongs to them: sandboxes, logs, events (DESIGN sections 4 and 8)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, enum_of
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState
from quality_gates.model import Verdict

_ENDED = ", ".join(f"'{state.value}'" for state in RunState if state in TERMINAL)
IS_LIVE = f"state NOT IN ({_ENDED})"


class Run(Base):
    """One thing that the queue drives: `next_action_at`, `lease_*` say who looks at it when.

    What a session or a judgement is stands in its own row (`sessions`, `judgements`), what a shared
    run makes in `shared_runs`. `state` changes only through `control_plane.runs.moves.move_run`.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint("kind <> 'judge' OR task_id IS NOT NULL", name="judge_has_task"),
        CheckConstraint(
            "(kind IN ('prepare', 'base')) = (cache_key IS NOT NULL)", name="cache_key_of_its_kind"
        ),
        CheckConstraint("cache_key IS NULL OR task_id IS NULL", name="shared_has_no_task"),
        CheckConstraint(
            "kind <> 'judge' OR state <> 'FINISHED' OR verdict IS NOT NULL",
            name="finished_has_verdict",
        ),
        CheckConstraint("deadline_s > 0", name="deadline_s_positive"),
        CheckConstraint(
            "lease_epoch >= 0 AND claims >= 0 AND holders >= 0 AND event_seq >= 0",
            name="counters_not_negative",
        ),
        # Retention keeps what a run without an end may still need, and counts from the end.
        CheckConstraint(
            f"(state IN ({_ENDED})) = (finished_at IS NOT NULL)", name="ended_has_its_time"
        ),
        CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="lease_is_whole"),
        CheckConstraint("base_commit ~ '^([0-9a-f]{40}|[0-9a-f]{64})$'", name="base_commit_whole"),
        Index(
            "ix_runs_kind_cache_key",
            "kind",
            "cache_key",
            postgresql_where=text("cache_key IS NOT NULL"),
        ),
        Index("ix_runs_claim", "next_action_at", postgresql_where=text(IS_LIVE)),
        Index(
            "uq_runs_live_cache_key",
            "kind",
            "cache_key",
            unique=True,
            postgresql_where=text(IS_LIVE),
        ),
    )

    id: Mapped[Key]
    kind: Mapped[RunKind] = mapped_column(enum_of(RunKind, "kind"))
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id"), index=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), index=True)
    base_commit: Mapped[str]
    cache_key: Mapped[str | None]
    """Of a shared run: one at a time lives, and all who want it wait for that one."""
    state: Mapped[RunState] = mapped_column(enum_of(RunState, "state"), default=RunState.QUEUED)
    verdict: Mapped[Verdict | None] = mapped_column(enum_of(Verdict, "verdict"))
    """Of a judge run; of a session only where it ended in a way that leaves nothing to judge."""
    cause: Mapped[str] = mapped_column(default="", server_default="")
    cancel_requested_at: Mapped[datetime | None]
    deadline_s: Mapped[float]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    site_id: Mapped[UUID | None] = mapped_column(ForeignKey("sites.id"), index=True)
    """Whose engine has begun it, since its first sandbox was planned: only that site drives it.

    None: any site may take it; what it needs is in the database and the blob store.
    """
    next_action_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    claims: Mapped[int] = mapped_column(default=0, server_default="0")
    """Claims since the run last moved that were not given back in order, the present one included.

    A process that is killed cannot say that it failed; the claim that it leaves behind says it.
    """
    holders: Mapped[int] = mapped_column(default=0, server_default="0")
    """The same, but also those that kept a living sandbox company count (`leases.renew`)."""
    waiting_for: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id"), index=True)
    """The shared run that this one has asked for last. It stays when that one has ended."""
    event_seq: Mapped[int] = mapped_column(default=0, server_default="0")
    """The number of the run's last event.

    Advanced only under this row's lock, so no reader can miss one.
    """


class SharedRun(Base):
    """What a `prepare` or `base` run makes, for all who wait for it (1:1 with its run)."""

    __tablename__ = "shared_runs"
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    judged: Mapped[str | None]
    """`prepare`: the tree or commit whose dependency list is installed."""
    environment_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("environments.id", ondelete="SET NULL"), index=True
    )
    """`base`: the environment that it is judged in."""
    policy: Mapped[dict[str, Any] | None]
    """`base`: what the gates are asked (`control_plane.judgements.policies`)."""
    cacheable: Mapped[bool | None]
    """`base`: whether every stage came to its end, so that its evidence is kept for others."""
    dropped_at: Mapped[datetime | None]
    """`base`: since when its evidence is found by nobody any more (`control_plane.retention`)."""


class Sandbox(Base):
    """One sandbox of a run.

    The row is written before the engine is asked, and names what it will be called.
    """

    __tablename__ = "sandboxes"
    __table_args__ = (
        UniqueConstraint("run_id", "stage", "n"),
        CheckConstraint("n >= 0", name="n_not_negative"),
        CheckConstraint("egress_attempts >= 0", name="egress_attempts_not_negative"),
        Index(
            "ix_sandboxes_not_destroyed",
            "created_at",
            postgresql_where=text("state <> 'DESTROYED'"),
        ),
    )

    id: Mapped[Key]
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    stage: Mapped[str]
    n: Mapped[int] = mapped_column(default=0)
    name: Mapped[str] = mapped_column(unique=True)
    fingerprint: Mapped[str]
    spec: Mapped[dict[str, Any]]
    engine_id: Mapped[str | None]
    state: Mapped[SandboxState] = mapped_column(
        enum_of(SandboxState, "state"), default=SandboxState.PLANNED
    )
    outcome: Mapped[dict[str, Any] | None]
    egress_attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often it tried to leave, over every gateway that served its door."""
    created_at: Mapped[CreatedAt]
    launched_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    destroyed_at: Mapped[datetime | None]


class LogStream(Base):
    """How far one stream of one sandbox has come; its row's lock puts the gateways in line."""

    __tablename__ = "log_streams"
    __table_args__ = (
        CheckConstraint(
            "next_seq >= 0 AND size_bytes >= 0 AND rows >= 0", name="counters_not_negative"
        ),
    )

    sandbox_id: Mapped[UUID] = mapped_column(
        ForeignKey("sandboxes.id", ondelete="CASCADE"), primary_key=True
    )
    stream: Mapped[str] = mapped_column(primary_key=True)
    next_seq: Mapped[int] = mapped_column(default=0, server_default="0")
    """The number that the next chunk must have."""
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    rows: Mapped[int] = mapped_column(default=0, server_default="0")
    sealed: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """The sandbox is dead and its log is being made a blob: nothing more is kept."""


class LogChunk(Base):
    """What one request brought of one stream, kept while the run is live; then the log is a blob.

    `seq` is the number of its first chunk.
    """

    __tablename__ = "log_chunks"
    __table_args__ = (CheckConstraint("seq >= 0", name="seq_not_negative"),)

    sandbox_id: Mapped[UUID] = mapped_column(
        ForeignKey("sandboxes.id", ondelete="CASCADE"), primary_key=True
    )
    stream: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class RunEvent(Base):
    """What happened to a run, numbered from 1 without gaps."""

    __tablename__ = "run_events"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)

"""Runs and what belongs to them: sandboxes, logs, events, session metrics."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Numeric,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key, enum_of, sha256_check
from control_plane.runs.rules import TERMINAL, RunKind, RunState, SandboxState, SessionStatus
from quality_gates.model import Verdict

_ENDED = ", ".join(f"'{state.value}'" for state in RunState if state in TERMINAL)
IS_LIVE = f"state NOT IN ({_ENDED})"


class Run(Base):
    """The execution of a session, and the queue.

    `next_action_at` and `lease_*` say who looks at it when.

    `state` changes only through `control_plane.runs.moves.move_run`.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint("(kind = 'task') = (task_id IS NOT NULL)", name="task_of_its_kind"),
        CheckConstraint("(kind = 'task') = (cache_key IS NULL)", name="cache_key_of_its_kind"),
        CheckConstraint(
            "kind <> 'task' OR state <> 'FINISHED' OR verdict IS NOT NULL",
            name="finished_has_verdict",
        ),
        CheckConstraint("deadline_s > 0", name="deadline_s_positive"),
        CheckConstraint(
            "judge_attempt >= 0 AND lease_epoch >= 0 AND claims >= 0 AND event_seq >= 0",
            name="counters_not_negative",
        ),
        sha256_check("patch_sha256"),
        sha256_check("report_sha256"),
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
    packet_id: Mapped[UUID | None] = mapped_column(ForeignKey("packets.id"), index=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), index=True)
    base_commit: Mapped[str]
    driver: Mapped[dict[str, Any]] = mapped_column(default=dict)
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict)
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    cache_key: Mapped[str | None]
    """Of a `prepare` or `base` run: one at a time lives, and all who want it wait for that one."""
    state: Mapped[RunState] = mapped_column(enum_of(RunState, "state"), default=RunState.QUEUED)
    verdict: Mapped[Verdict | None] = mapped_column(enum_of(Verdict, "verdict"))
    cause: Mapped[str] = mapped_column(default="", server_default="")
    cancel_requested_at: Mapped[datetime | None]
    deadline_s: Mapped[float]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    site_id: Mapped[UUID | None] = mapped_column(ForeignKey("sites.id"), index=True)
    """Whose engine has begun it, since its first sandbox was planned: only that site drives it."""
    next_action_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    claims: Mapped[int] = mapped_column(default=0, server_default="0")
    """Claims since the run last moved that were not given back in order, the present one included.

    A process that is killed cannot say that it failed; the claim that it leaves behind says it.
    """

    judge_attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    base_tree: Mapped[str | None]
    head_tree: Mapped[str | None]
    patch_sha256: Mapped[str | None]
    environment_id: Mapped[UUID | None] = mapped_column(ForeignKey("environments.id"), index=True)
    report_sha256: Mapped[str | None]
    event_seq: Mapped[int] = mapped_column(default=0, server_default="0")
    """The number of the run's last event.

    Advanced only under this row's lock, so no reader can miss one.
    """
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)


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
    engine_id: Mapped[str | None] = mapped_column(index=True)
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


class AgentSession(Base):
    """One agent working on one task once, with the metrics of SPEC section 5.8."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("code_quality_score BETWEEN 0 AND 100", name="code_quality_score_range"),
        CheckConstraint(
            "tokens_input >= 0 AND tokens_output >= 0 AND execution_time_ms >= 0"
            " AND estimated_cost_usd >= 0 AND context_request_count >= 0",
            name="metrics_not_negative",
        ),
    )

    id: Mapped[Key]
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), unique=True)
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id"), index=True)
    agent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agents.id"), index=True)
    tokens_input: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    tokens_output: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    execution_time_ms: Mapped[int | None] = mapped_column(BigInteger)
    estimated_cost_usd: Mapped[Decimal] = mapped_column(
        Numeric(14, 6), default=Decimal(0), server_default="0"
    )
    status: Mapped[SessionStatus | None] = mapped_column(enum_of(SessionStatus, "status"))
    """None: it has not ended."""
    context_request_count: Mapped[int] = mapped_column(default=0, server_default="0")
    code_quality_score: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    created_at: Mapped[CreatedAt]

"""The ground: every table that the platform began with

SPEC section 4's (agents to traces), and those that drive runs. Never edited: what changes is a
migration of its own, after this one.

Revision ID: 0001_ground
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001_ground"  # "0001" was another schema, which `migrate` refuses
down_revision = None
branch_labels = None
depends_on = None


# Who writes here only adds: the database itself refuses the rest, whatever the code says.
APPEND_ONLY = ("audit_log", "packets")


def upgrade() -> None:  # noqa: PLR0915 -- a statement for each table
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "agents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "CEO",
                "CTO",
                "PM",
                "TeamLead",
                "SeniorDev",
                "MidDev",
                "JuniorDev",
                "QA",
                "Security",
                "Ops",
                "Architect",
                "DeliveryManager",
                "SocraticInterrogator",
                "CanaryProber",
                name="role",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("specialization", sa.Text(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "IDLE",
                "BUSY",
                "RESTRICTED",
                "OFFLINE",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "model_config",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=False,
        ),
        sa.Column(
            "total_cost_incurred",
            sa.Numeric(precision=14, scale=6),
            server_default="0",
            nullable=False,
        ),
        sa.Column("intervention_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reports_to", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "intervention_count >= 0", name=op.f("ck_agents_intervention_count_not_negative")
        ),
        sa.CheckConstraint("reports_to <> id", name=op.f("ck_agents_reports_to_another")),
        sa.CheckConstraint(
            "total_cost_incurred >= 0", name=op.f("ck_agents_total_cost_incurred_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["reports_to"], ["agents.id"], name=op.f("fk_agents_reports_to_agents")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
        sa.UniqueConstraint("key", name=op.f("uq_agents_key")),
    )
    op.create_index(op.f("ix_agents_reports_to"), "agents", ["reports_to"], unique=False)
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "token_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_api_tokens_token_sha256_hex")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("name", name=op.f("uq_api_tokens_name")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_api_tokens_token_sha256")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("chain", sa.Uuid(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column(
            "facts", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("previous_sha256", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "previous_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_audit_log_previous_sha256_hex")
        ),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_audit_log_sha256_hex")),
        sa.CheckConstraint(
            "(n = 1) = (previous_sha256 IS NULL)", name=op.f("ck_audit_log_first_has_no_previous")
        ),
        sa.CheckConstraint("n >= 1", name=op.f("ck_audit_log_n_from_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("chain", "n", name=op.f("uq_audit_log_chain_n")),
    )
    op.create_table(
        "environments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cache_key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column(
            "layers", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "facts", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "used_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_environments_sha256_hex")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_environments_run_id_runs"), use_alter=True
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("cache_key", name=op.f("uq_environments_cache_key")),
    )
    op.create_index(op.f("ix_environments_run_id"), "environments", ["run_id"], unique=False)
    op.create_table(
        "packets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column(
            "document", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_packets_sha256_hex")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["packets.id"], name=op.f("fk_packets_parent_id_packets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packets")),
        sa.UniqueConstraint("key", name=op.f("uq_packets_key")),
    )
    op.create_index(op.f("ix_packets_parent_id"), "packets", ["parent_id"], unique=False)
    op.create_table(
        "projects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("client_name", sa.Text(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "PLANNED",
                "ACTIVE",
                "ON_HOLD",
                "COMPLETED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("key", name=op.f("uq_projects_key")),
    )
    op.create_table(
        "repos",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repos")),
        sa.UniqueConstraint("key", name=op.f("uq_repos_key")),
    )
    op.create_table(
        "snapshots",
        sa.Column("repo_id", sa.Uuid(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=False),
        sa.Column("archive_sha256", sa.Text(), nullable=False),
        sa.Column("archive_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "used_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "archive_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_snapshots_archive_sha256_hex")
        ),
        sa.ForeignKeyConstraint(["repo_id"], ["repos.id"], name=op.f("fk_snapshots_repo_id_repos")),
        sa.PrimaryKeyConstraint("repo_id", "commit", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "modules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("owner_agent_id", sa.Uuid(), nullable=True),
        sa.Column("parent_module_id", sa.Uuid(), nullable=True),
        sa.Column(
            "tech_stack", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "constraints",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=False,
        ),
        sa.Column(
            "docs_refs", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "status",
            sa.Enum(
                "PLANNED",
                "ACTIVE",
                "ON_HOLD",
                "COMPLETED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("parent_module_id <> id", name=op.f("ck_modules_parent_is_another")),
        sa.ForeignKeyConstraint(
            ["owner_agent_id"], ["agents.id"], name=op.f("fk_modules_owner_agent_id_agents")
        ),
        sa.ForeignKeyConstraint(
            ["parent_module_id"], ["modules.id"], name=op.f("fk_modules_parent_module_id_modules")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_modules_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_modules")),
        sa.UniqueConstraint("key", name=op.f("uq_modules_key")),
    )
    op.create_index(op.f("ix_modules_owner_agent_id"), "modules", ["owner_agent_id"], unique=False)
    op.create_index(
        op.f("ix_modules_parent_module_id"), "modules", ["parent_module_id"], unique=False
    )
    op.create_index(op.f("ix_modules_project_id"), "modules", ["project_id"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("module_id", sa.Uuid(), nullable=True),
        sa.Column("assigned_to_agent", sa.Uuid(), nullable=True),
        sa.Column(
            "required_role",
            sa.Enum(
                "CEO",
                "CTO",
                "PM",
                "TeamLead",
                "SeniorDev",
                "MidDev",
                "JuniorDev",
                "QA",
                "Security",
                "Ops",
                "Architect",
                "DeliveryManager",
                "SocraticInterrogator",
                "CanaryProber",
                name="required_role",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("complexity_score", sa.Integer(), nullable=True),
        sa.Column(
            "task_type",
            sa.Enum(
                "FEATURE",
                "BUGFIX",
                "REFACTOR",
                "TEST_ONLY",
                name="task_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "context_packet",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "QUEUED",
                "ASSIGNED",
                "IN_PROGRESS",
                "READY_FOR_REVIEW",
                "REJECTED",
                "APPROVED",
                "NEEDS_REASSIGNMENT",
                "CANCELLED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("retry_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "priority",
            sa.Enum(
                "LOW",
                "MEDIUM",
                "HIGH",
                "CRITICAL",
                name="priority",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("repo_id", sa.Uuid(), nullable=True),
        sa.Column("base_commit", sa.Text(), nullable=True),
        sa.Column("packet_id", sa.Uuid(), nullable=True),
        sa.Column("patch_sha256", sa.Text(), nullable=True),
        sa.Column(
            "driver", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "policy", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("deadline_s", sa.Double(), nullable=True),
        sa.Column("request_sha256", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "complexity_score BETWEEN 0 AND 100", name=op.f("ck_tasks_complexity_score_range")
        ),
        sa.CheckConstraint("retry_count >= 0", name=op.f("ck_tasks_retry_count_not_negative")),
        sa.CheckConstraint(
            "patch_sha256 IS NULL OR driver IS NULL", name=op.f("ck_tasks_patch_or_driver")
        ),
        sa.CheckConstraint("deadline_s > 0", name=op.f("ck_tasks_deadline_s_positive")),
        sa.CheckConstraint(
            "patch_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_tasks_patch_sha256_hex")
        ),
        sa.CheckConstraint(
            "request_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_tasks_request_sha256_hex")
        ),
        sa.ForeignKeyConstraint(
            ["assigned_to_agent"], ["agents.id"], name=op.f("fk_tasks_assigned_to_agent_agents")
        ),
        sa.ForeignKeyConstraint(
            ["module_id"], ["modules.id"], name=op.f("fk_tasks_module_id_modules")
        ),
        sa.ForeignKeyConstraint(
            ["packet_id"], ["packets.id"], name=op.f("fk_tasks_packet_id_packets")
        ),
        sa.ForeignKeyConstraint(["repo_id"], ["repos.id"], name=op.f("fk_tasks_repo_id_repos")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("key", name=op.f("uq_tasks_key")),
    )
    op.create_index(
        op.f("ix_tasks_assigned_to_agent"), "tasks", ["assigned_to_agent"], unique=False
    )
    op.create_index(op.f("ix_tasks_module_id"), "tasks", ["module_id"], unique=False)
    op.create_index(op.f("ix_tasks_packet_id"), "tasks", ["packet_id"], unique=False)
    op.create_index(op.f("ix_tasks_repo_id"), "tasks", ["repo_id"], unique=False)
    op.create_index("ix_tasks_status_id", "tasks", ["status", "id"], unique=False)
    op.create_table(
        "context_escalations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("from_agent_id", sa.Uuid(), nullable=True),
        sa.Column("to_agent_id", sa.Uuid(), nullable=True),
        sa.Column(
            "issue_type",
            sa.Enum(
                "MISSING_INFORMATION",
                "AMBIGUITY",
                "CONFLICT",
                "BLOCKED_DEPENDENCY",
                name="issue_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(resolution IS NULL) = (resolved_at IS NULL)",
            name=op.f("ck_context_escalations_resolved_with_resolution"),
        ),
        sa.ForeignKeyConstraint(
            ["from_agent_id"],
            ["agents.id"],
            name=op.f("fk_context_escalations_from_agent_id_agents"),
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_context_escalations_task_id_tasks")
        ),
        sa.ForeignKeyConstraint(
            ["to_agent_id"], ["agents.id"], name=op.f("fk_context_escalations_to_agent_id_agents")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_context_escalations")),
    )
    op.create_index(
        op.f("ix_context_escalations_from_agent_id"),
        "context_escalations",
        ["from_agent_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_context_escalations_task_id"), "context_escalations", ["task_id"], unique=False
    )
    op.create_index(
        op.f("ix_context_escalations_to_agent_id"),
        "context_escalations",
        ["to_agent_id"],
        unique=False,
    )
    op.create_table(
        "installation",
        sa.Column("one", sa.Boolean(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("letters", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("letters ~ '^[a-z0-9]{3}$'", name=op.f("ck_installation_letters_form")),
        sa.CheckConstraint("one", name=op.f("ck_installation_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_installation")),
    )
    op.create_table(
        "sites",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("name ~ '^[a-z0-9]{6}$'", name=op.f("ck_sites_name_form")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
        sa.UniqueConstraint("engine", "home", name=op.f("uq_sites_engine_home")),
        sa.UniqueConstraint("name", name=op.f("uq_sites_name")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "session",
                "judge",
                "prepare",
                "base",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("repo_id", sa.Uuid(), nullable=False),
        sa.Column("base_commit", sa.Text(), nullable=False),
        sa.Column("cache_key", sa.Text(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "QUEUED",
                "HYDRATING",
                "EXECUTING",
                "DEHYDRATING",
                "VERIFYING",
                "FINISHED",
                "CANCELLED",
                "LOST",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "verdict",
            sa.Enum(
                "passed",
                "flaky",
                "failed",
                "inconclusive",
                "errored",
                "tampered",
                name="verdict",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("cause", sa.Text(), server_default="", nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_s", sa.Double(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        sa.Column(
            "next_action_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claims", sa.Integer(), server_default="0", nullable=False),
        sa.Column("holders", sa.Integer(), server_default="0", nullable=False),
        sa.Column("waiting_for", sa.Uuid(), nullable=True),
        sa.Column("event_seq", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "kind <> 'judge' OR task_id IS NOT NULL", name=op.f("ck_runs_judge_has_task")
        ),
        sa.CheckConstraint(
            "(kind IN ('prepare', 'base')) = (cache_key IS NOT NULL)",
            name=op.f("ck_runs_cache_key_of_its_kind"),
        ),
        sa.CheckConstraint(
            "cache_key IS NULL OR task_id IS NULL", name=op.f("ck_runs_shared_has_no_task")
        ),
        sa.CheckConstraint(
            "kind <> 'judge' OR state <> 'FINISHED' OR verdict IS NOT NULL",
            name=op.f("ck_runs_finished_has_verdict"),
        ),
        sa.CheckConstraint("deadline_s > 0", name=op.f("ck_runs_deadline_s_positive")),
        sa.CheckConstraint(
            "lease_epoch >= 0 AND claims >= 0 AND holders >= 0 AND event_seq >= 0",
            name=op.f("ck_runs_counters_not_negative"),
        ),
        sa.CheckConstraint(
            "(state IN ('FINISHED', 'CANCELLED', 'LOST')) = (finished_at IS NOT NULL)",
            name=op.f("ck_runs_ended_has_its_time"),
        ),
        sa.CheckConstraint(
            "(lease_owner IS NULL) = (lease_until IS NULL)", name=op.f("ck_runs_lease_is_whole")
        ),
        sa.CheckConstraint(
            "base_commit ~ '^([0-9a-f]{40}|[0-9a-f]{64})$'",
            name=op.f("ck_runs_base_commit_whole"),
        ),
        sa.ForeignKeyConstraint(["repo_id"], ["repos.id"], name=op.f("fk_runs_repo_id_repos")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_runs_site_id_sites")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_runs_task_id_tasks")),
        sa.ForeignKeyConstraint(
            ["waiting_for"], ["runs.id"], name=op.f("fk_runs_waiting_for_runs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(
        "ix_runs_claim",
        "runs",
        ["next_action_at"],
        unique=False,
        postgresql_where=sa.text("state NOT IN ('FINISHED', 'CANCELLED', 'LOST')"),
    )
    op.create_index(
        "ix_runs_kind_cache_key",
        "runs",
        ["kind", "cache_key"],
        unique=False,
        postgresql_where=sa.text("cache_key IS NOT NULL"),
    )
    op.create_index(op.f("ix_runs_repo_id"), "runs", ["repo_id"], unique=False)
    op.create_index(op.f("ix_runs_site_id"), "runs", ["site_id"], unique=False)
    op.create_index(op.f("ix_runs_task_id"), "runs", ["task_id"], unique=False)
    op.create_index(op.f("ix_runs_waiting_for"), "runs", ["waiting_for"], unique=False)
    op.create_index(
        "uq_runs_live_cache_key",
        "runs",
        ["kind", "cache_key"],
        unique=True,
        postgresql_where=sa.text("state NOT IN ('FINISHED', 'CANCELLED', 'LOST')"),
    )
    op.create_table(
        "shared_runs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("judged", sa.Text(), nullable=True),
        sa.Column("environment_id", sa.Uuid(), nullable=True),
        sa.Column(
            "policy", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("cacheable", sa.Boolean(), nullable=True),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_shared_runs_environment_id_environments"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_shared_runs_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_shared_runs")),
    )
    op.create_index(
        op.f("ix_shared_runs_environment_id"), "shared_runs", ["environment_id"], unique=False
    )
    op.create_table(
        "traces",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("root_agent_id", sa.Uuid(), nullable=True),
        sa.Column("final_outcome", sa.Text(), nullable=True),
        sa.Column("termination_reason", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_traces_project_id_projects")
        ),
        sa.ForeignKeyConstraint(
            ["root_agent_id"], ["agents.id"], name=op.f("fk_traces_root_agent_id_agents")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_traces_task_id_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
        sa.UniqueConstraint("key", name=op.f("uq_traces_key")),
    )
    op.create_index(op.f("ix_traces_project_id"), "traces", ["project_id"], unique=False)
    op.create_index(op.f("ix_traces_root_agent_id"), "traces", ["root_agent_id"], unique=False)
    op.create_index(op.f("ix_traces_task_id"), "traces", ["task_id"], unique=False)
    op.create_table(
        "gate_reports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column(
            "verdict",
            sa.Enum(
                "passed",
                "flaky",
                "failed",
                "inconclusive",
                "errored",
                "tampered",
                name="verdict",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("applicable", sa.Boolean(), nullable=False),
        sa.Column(
            "reasons", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "report", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_gate_reports_attempt_not_negative")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_gate_reports_run_id_runs")),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_gate_reports_task_id_tasks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_reports")),
        sa.UniqueConstraint(
            "run_id",
            "attempt",
            "gate",
            name=op.f("uq_gate_reports_run_id_attempt_gate"),
        ),
    )
    op.create_index(op.f("ix_gate_reports_task_id"), "gate_reports", ["task_id"], unique=False)
    op.create_table(
        "run_events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_events_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_events")),
    )
    op.create_table(
        "sandboxes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column(
            "spec", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("engine_id", sa.Text(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "PLANNED",
                "LAUNCHED",
                "ENDED",
                "DESTROYED",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "outcome", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("egress_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("n >= 0", name=op.f("ck_sandboxes_n_not_negative")),
        sa.CheckConstraint(
            "egress_attempts >= 0", name=op.f("ck_sandboxes_egress_attempts_not_negative")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_sandboxes_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandboxes")),
        sa.UniqueConstraint("name", name=op.f("uq_sandboxes_name")),
        sa.UniqueConstraint("run_id", "stage", "n", name=op.f("uq_sandboxes_run_id_stage_n")),
    )
    op.create_index(
        "ix_sandboxes_not_destroyed",
        "sandboxes",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state <> 'DESTROYED'"),
    )
    op.create_table(
        "sessions",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("packet_id", sa.Uuid(), nullable=True),
        sa.Column(
            "driver", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "output_schema",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column("environment_id", sa.Uuid(), nullable=True),
        sa.Column("head_tree", sa.Text(), nullable=True),
        sa.Column("patch_sha256", sa.Text(), nullable=True),
        sa.Column("refused", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("document_sha256", sa.Text(), nullable=True),
        sa.Column("valid_submits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("invalid_submits", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "success",
                "failure",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("tokens_input", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tokens_output", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("execution_time_ms", sa.BigInteger(), nullable=True),
        sa.Column(
            "estimated_cost_usd",
            sa.Numeric(precision=14, scale=6),
            server_default="0",
            nullable=False,
        ),
        sa.Column("context_request_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("code_quality_score", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "code_quality_score BETWEEN 0 AND 100",
            name=op.f("ck_sessions_code_quality_score_range"),
        ),
        sa.CheckConstraint(
            "tokens_input >= 0 AND tokens_output >= 0 AND execution_time_ms >= 0"
            " AND estimated_cost_usd >= 0 AND context_request_count >= 0",
            name=op.f("ck_sessions_metrics_not_negative"),
        ),
        sa.CheckConstraint(
            "patch_sha256 IS NULL OR document_sha256 IS NULL", name=op.f("ck_sessions_one_product")
        ),
        sa.CheckConstraint(
            "valid_submits >= 0 AND invalid_submits >= 0",
            name=op.f("ck_sessions_submits_not_negative"),
        ),
        sa.CheckConstraint(
            "patch_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_sessions_patch_sha256_hex")
        ),
        sa.CheckConstraint(
            "document_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_sessions_document_sha256_hex")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_sessions_agent_id_agents")
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_sessions_environment_id_environments"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["packet_id"], ["packets.id"], name=op.f("fk_sessions_packet_id_packets")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_sessions_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_agent_id"), "sessions", ["agent_id"], unique=False)
    op.create_index(
        op.f("ix_sessions_environment_id"), "sessions", ["environment_id"], unique=False
    )
    op.create_index(op.f("ix_sessions_packet_id"), "sessions", ["packet_id"], unique=False)
    op.create_table(
        "judgements",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("patch_sha256", sa.Text(), nullable=False),
        sa.Column("head_tree", sa.Text(), nullable=True),
        sa.Column("refused", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column(
            "policy", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=True),
        sa.Column("report_sha256", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_judgements_attempt_not_negative")),
        sa.CheckConstraint(
            "patch_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_judgements_patch_sha256_hex")
        ),
        sa.CheckConstraint(
            "report_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_judgements_report_sha256_hex")
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_judgements_environment_id_environments"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_judgements_run_id_runs")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.run_id"], name=op.f("fk_judgements_session_id_sessions")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_judgements")),
    )
    op.create_index(
        op.f("ix_judgements_environment_id"), "judgements", ["environment_id"], unique=False
    )
    op.create_index(op.f("ix_judgements_session_id"), "judgements", ["session_id"], unique=False)
    op.create_table(
        "trace_steps",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("trace_id", sa.Uuid(), nullable=False),
        sa.Column("step_number", sa.Integer(), nullable=False),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column(
            "action_type",
            sa.Enum(
                "READ_CONTEXT",
                "THOUGHT",
                "TOOL_CALL",
                "TOOL_RESULT",
                "CONTEXT_REQUEST",
                "ERROR",
                "KILL",
                name="action_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.CheckConstraint(
            "step_number >= 0", name=op.f("ck_trace_steps_step_number_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_trace_steps_agent_id_agents")
        ),
        sa.ForeignKeyConstraint(
            ["trace_id"], ["traces.id"], name=op.f("fk_trace_steps_trace_id_traces")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trace_steps")),
        sa.UniqueConstraint(
            "trace_id", "step_number", name=op.f("uq_trace_steps_trace_id_step_number")
        ),
    )
    op.create_index(op.f("ix_trace_steps_agent_id"), "trace_steps", ["agent_id"], unique=False)
    op.create_table(
        "findings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("gate_report_id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column(
            "severity",
            sa.Enum(
                "LOW",
                "MEDIUM",
                "HIGH",
                name="severity",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("new", sa.Boolean(), nullable=False),
        sa.Column("blocks", sa.Boolean(), nullable=False),
        sa.Column("suppressed", sa.Boolean(), nullable=False),
        sa.Column("cwe", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["gate_report_id"],
            ["gate_reports.id"],
            name=op.f("fk_findings_gate_report_id_gate_reports"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
    )
    op.create_index(
        op.f("ix_findings_gate_report_id"), "findings", ["gate_report_id"], unique=False
    )
    op.create_table(
        "log_streams",
        sa.Column("sandbox_id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("next_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rows", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sealed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "next_seq >= 0 AND size_bytes >= 0 AND rows >= 0",
            name=op.f("ck_log_streams_counters_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["sandbox_id"],
            ["sandboxes.id"],
            name=op.f("fk_log_streams_sandbox_id_sandboxes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sandbox_id", "stream", name=op.f("pk_log_streams")),
    )
    op.create_table(
        "log_chunks",
        sa.Column("sandbox_id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_log_chunks_seq_not_negative")),
        sa.ForeignKeyConstraint(
            ["sandbox_id"],
            ["sandboxes.id"],
            name=op.f("fk_log_chunks_sandbox_id_sandboxes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sandbox_id", "stream", "seq", name=op.f("pk_log_chunks")),
    )
    # The two tables name each other, so one constraint comes last.
    op.create_foreign_key(
        op.f("fk_environments_run_id_runs"), "environments", "runs", ["run_id"], ["id"]
    )
    op.execute(
        """
        CREATE FUNCTION vsc_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_rows BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION vsc_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_all BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION vsc_refuse_change()"
        )

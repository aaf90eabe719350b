"""The schema: SPEC section 4 field by field; models and migrations agree; the database checks."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from control_plane.agents.models import Agent
from control_plane.agents.rules import Role
from control_plane.db.errors import DatabaseUnavailable, MigrationFailed
from control_plane.db.migrate import _ADVISORY_LOCK, migrate, newest
from control_plane.processes.ground import open_ground
from control_plane.projects.models import Project
from control_plane.repos.models import Repo
from control_plane.runs.models import IS_LIVE, Run
from control_plane.settings import Settings
from control_plane.tables import metadata

# SPEC section 4, in its own words. A table's own id is `id`, and `key` where SPEC shows a string.
SPEC_TABLES = {
    "agents": (
        "id key role specialization status model_config total_cost_incurred intervention_count"
    ),
    "projects": "id key name client_name status",
    "modules": (
        "id key project_id owner_agent_id parent_module_id tech_stack constraints docs_refs status"
    ),
    "tasks": (
        "id key module_id assigned_to_agent required_role complexity_score task_type "
        "context_packet status retry_count"
    ),
    "context_escalations": (
        "id task_id from_agent_id to_agent_id issue_type question resolution resolved_at"
    ),
    "traces": "id key project_id task_id root_agent_id final_outcome termination_reason",
    "trace_steps": "id trace_id step_number timestamp agent_id action_type payload",
    "sessions": "tokens_input tokens_output execution_time_ms estimated_cost_usd status "
    "context_request_count code_quality_score",
}
SPEC_ENUMS = {
    ("agents", "role"): "CEO CTO PM TeamLead SeniorDev MidDev JuniorDev QA Security Ops"
    " Architect DeliveryManager SocraticInterrogator CanaryProber",
    ("agents", "status"): "IDLE BUSY RESTRICTED OFFLINE",
    ("projects", "status"): "PLANNED ACTIVE ON_HOLD COMPLETED",
    ("modules", "status"): "PLANNED ACTIVE ON_HOLD COMPLETED",
    ("tasks", "required_role"): "CEO CTO PM TeamLead SeniorDev MidDev JuniorDev QA Security Ops"
    " Architect DeliveryManager SocraticInterrogator CanaryProber",
    ("tasks", "task_type"): "FEATURE BUGFIX REFACTOR TEST_ONLY",
    (
        "tasks",
        "status",
    ): (
        "QUEUED ASSIGNED IN_PROGRESS READY_FOR_REVIEW REJECTED APPROVED NEEDS_REASSIGNMENT "
        "CANCELLED"
    ),
    ("tasks", "priority"): "LOW MEDIUM HIGH CRITICAL",
    (
        "context_escalations",
        "issue_type",
    ): "MISSING_INFORMATION AMBIGUITY CONFLICT BLOCKED_DEPENDENCY",
    (
        "trace_steps",
        "action_type",
    ): "READ_CONTEXT THOUGHT TOOL_CALL TOOL_RESULT CONTEXT_REQUEST ERROR KILL",
    ("sessions", "status"): "success failure",
    ("runs", "kind"): "session judge prepare base",
    ("runs", "state"): "QUEUED HYDRATING EXECUTING DEHYDRATING VERIFYING FINISHED CANCELLED LOST",
    ("runs", "verdict"): "passed flaky failed inconclusive errored tampered",
    ("sandboxes", "state"): "PLANNED LAUNCHED ENDED DESTROYED",
    ("gate_reports", "verdict"): "passed flaky failed inconclusive errored tampered",
    ("findings", "severity"): "LOW MEDIUM HIGH",
}

TASK_OF_COMPLEXITY_101 = """
    INSERT INTO tasks (id, key, task_type, status, priority, created_by, complexity_score)
    VALUES (gen_random_uuid(), 't', 'FEATURE', 'QUEUED', 'LOW', 'me', 101)
"""
A_RUN = """
    INSERT INTO runs (id, kind, repo_id, deadline_s, base_commit, state,
        finished_at, lease_owner, lease_until)
    VALUES (gen_random_uuid(), 'session', gen_random_uuid(), 60, '{base}', '{state}', {more})
"""


@pytest.mark.parametrize("table", list(SPEC_TABLES))
async def test_every_field_of_the_specification_is_a_column(session, table):
    rows = await session.execute(
        text("SELECT column_name FROM information_schema.columns WHERE table_name = :table"),
        {"table": table},
    )
    assert set(SPEC_TABLES[table].split()) <= set(rows.scalars())


async def test_every_enum_is_checked_by_the_database_with_exactly_its_values(session):
    rows = await session.execute(
        text(
            """
            SELECT c.relname, a.attname, pg_get_constraintdef(k.oid) FROM pg_constraint k
            JOIN pg_class c ON c.oid = k.conrelid
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
            WHERE k.contype = 'c' AND array_length(k.conkey, 1) = 1
            AND pg_get_constraintdef(k.oid) LIKE '%ANY%'
            """
        )
    )
    checked = {
        (table, column): set(definition.split("'")[1::2]) for table, column, definition in rows
    }
    assert checked == {place: set(values.split()) for place, values in SPEC_ENUMS.items()}


async def test_types_are_what_the_design_says(session):
    rows = (
        await session.execute(
            text(
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
            )
        )
    ).all()
    types = {(table, column): kind for table, column, kind in rows}
    assert "timestamp without time zone" not in types.values()
    assert (
        types["agents", "total_cost_incurred"]
        == types["sessions", "estimated_cost_usd"]
        == "numeric"
    )
    assert types["agents", "id"] == "uuid"
    assert {
        types[table, column] for table, column in types if column in {"model_config", "payload"}
    } == {"jsonb"}


def _catalogue(connection):
    """Everything that a schema is made of, as PostgreSQL itself spells it."""
    queries = {
        "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default, "
        "character_maximum_length, numeric_precision, numeric_scale "
        "FROM information_schema.columns WHERE table_schema = 'public'",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
        "FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
        "indexes": (
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        ),
    }
    return {
        name: {tuple(row) for row in connection.execute(text(query)) if row[0] != "alembic_version"}
        for name, query in queries.items()
    }


def _both(migrated_url):
    engine = create_engine(migrated_url)
    with engine.connect() as connection:
        migrated = _catalogue(connection)
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        metadata.create_all(connection)
        modelled = _catalogue(connection)
        connection.rollback()
    engine.dispose()
    return migrated, modelled, differences


async def test_models_and_migrations_agree(database):
    migrated, modelled, differences = await asyncio.to_thread(_both, database)

    assert differences == []
    for part, found in modelled.items():
        assert found, part
        assert migrated[part] == found


async def test_migrating_again_and_at_once_is_harmless(database):
    await asyncio.gather(*(migrate(database) for _ in range(3)))
    assert newest() == "0001_ground"


async def test_a_migration_waits_for_another_but_not_for_ever(database):
    engine = create_engine(database)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        with pytest.raises(MigrationFailed, match="another process"):
            await migrate(database, lock_wait_s=1)
    engine.dispose()


async def test_a_database_of_a_newer_version_is_left_alone(database):
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(MigrationFailed, match="newer vsc"):
        await migrate(database)


async def test_a_database_of_0_1_0_is_refused_with_what_to_keep_and_what_to_remove(database):
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    with pytest.raises(MigrationFailed, match=r"0\.1\.0.*keep the reports.*empty VSC_HOME"):
        await migrate(database)


async def test_a_home_of_0_1_0_is_refused_before_anything_is_made_in_it(tmp_path):
    (tmp_path / "install").write_text("abcdef")
    with pytest.raises(MigrationFailed, match=r"0\.1\.0.*keep.*reports.*remove"):
        async with open_ground(Settings(home=tmp_path)):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["install"]


async def test_no_server_is_told_as_such():
    with pytest.raises(DatabaseUnavailable, match="VSC_DATABASE_URL"):
        await migrate("postgresql+psycopg://u:p@/nowhere?host=/nonexistent")


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            (
                "INSERT INTO agents (id, key, role, status, model_config)"
                " VALUES (gen_random_uuid(), 'a', 'Intern', 'IDLE', '{}')"
            ),
            "ck_agents_role",
        ),
        (TASK_OF_COMPLEXITY_101, "complexity_score_range"),
        (
            "INSERT INTO api_tokens (id, name, token_sha256) VALUES (gen_random_uuid(), 'a', 'A')",
            "ck_api_tokens_token_sha256_hex",
        ),
        (A_RUN.format(base="HEAD", state="QUEUED", more="NULL, NULL, NULL"), "base_commit_whole"),
        (A_RUN.format(base="a" * 40, state="LOST", more="NULL, NULL, NULL"), "ended_has_its_time"),
        (A_RUN.format(base="a" * 40, state="QUEUED", more="now(), NULL, NULL"), "has_its_time"),
        (A_RUN.format(base="a" * 64, state="QUEUED", more="NULL, 'me', NULL"), "lease_is_whole"),
    ],
)
async def test_the_database_refuses_what_the_code_let_through(session, statement, constraint):
    with pytest.raises(IntegrityError, match=constraint):
        await session.execute(text(statement))


async def test_an_unknown_role_does_not_even_reach_the_database(session):
    session.add(Agent(key="a", role="Intern"))
    with pytest.raises(StatementError, match="Intern"):
        await session.flush()


async def test_keys_are_unique_and_ids_follow_time(session):
    session.add_all(Project(key=f"PROJ-{i}", name="n", client_name="c") for i in range(3))
    await session.flush()
    found = (await session.execute(text("SELECT key, id FROM projects ORDER BY id"))).all()
    assert [key for key, _ in found] == ["PROJ-0", "PROJ-1", "PROJ-2"]
    assert {each.version for _, each in found} == {7}
    session.add(Project(key="PROJ-0", name="n", client_name="c"))
    with pytest.raises(IntegrityError, match="uq_projects_key"):
        await session.flush()


async def test_an_agent_is_kept_whole(session):
    agent = Agent(
        key="dev-1",
        role=Role.MID_DEV,
        specialization="Auth",
        model_config={"model": "m", "temperature": 0.2},
    )
    session.add(agent)
    await session.flush()
    await session.refresh(agent)
    assert (agent.status, agent.intervention_count, str(agent.total_cost_incurred)) == (
        "IDLE",
        0,
        "0.000000",
    )
    assert agent.created_at.tzinfo is not None


async def test_vectors_can_be_compared(session):
    distance = await session.scalar(text("SELECT '[1,2,3]'::vector <-> '[1,2,5]'::vector"))
    assert distance == 2.0


async def test_the_queue_is_read_by_its_index(session):
    await session.execute(text("SET LOCAL enable_seqscan = off"))
    claimable = select(Run.id).where(
        text(IS_LIVE), Run.next_action_at <= func.statement_timestamp()
    )
    plan = await session.scalars(text(f"EXPLAIN {claimable}"))
    assert "ix_runs_claim" in "\n".join(plan)


async def test_statements_are_bounded(session):
    assert await session.scalar(text("SHOW statement_timeout")) == "1min"
    assert await session.scalar(text("SHOW lock_timeout")) == "30s"


async def test_a_nul_never_reaches_the_database_unnoticed(session):
    session.add(Repo(key="r", source="a\x00b"))
    with pytest.raises((DBAPIError, ValueError)):
        await session.flush()

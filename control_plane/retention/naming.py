"""What the rows name, read in one snapshot of the database."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.db.engine import Sessions
from control_plane.retention.rules import HELD, Keep, Kind, Name
from control_plane.sites.service import MARK
from runners import protocol

_FIXED = {"name": "[0-9a-f]{64}", "capsule": protocol.CAPSULE, "mark": MARK}

# (sha256, since). Of what lives, and of environments, every column is searched, so that a column
# that is new is not forgotten. A run that has not ended has no `finished_at`.
_QUERIES: Mapping[Kind, str] = {
    Kind.LIVE: """
        SELECT (regexp_matches(row, :name, 'g'))[1], NULL FROM (
            SELECT r::text FROM runs r WHERE r.finished_at IS NULL
            UNION ALL SELECT j::text FROM judgements j JOIN runs r ON r.id = j.run_id
                WHERE r.finished_at IS NULL
            UNION ALL SELECT a::text FROM sessions a JOIN runs r ON r.id = a.run_id
                WHERE r.finished_at IS NULL
            UNION ALL SELECT o::text FROM shared_runs o JOIN runs r ON r.id = o.run_id
                WHERE r.finished_at IS NULL) AS living (row)
        UNION SELECT (regexp_matches(s::text, :name, 'g'))[1], NULL
            FROM sandboxes s JOIN runs r ON r.id = s.run_id
            WHERE r.finished_at IS NULL OR s.state <> 'DESTROYED'
        UNION SELECT encode(sha256(convert_to(CAST(:mark AS text) || id, 'UTF8')), 'hex'), NULL
            FROM installation""",
    Kind.ENVIRONMENT: """
        SELECT (regexp_matches(e::text, :name, 'g'))[1], NULL FROM environments e
        WHERE e.used_at >= :prepared_after""",
    Kind.SNAPSHOT: """
        SELECT archive_sha256, NULL FROM snapshots s
        WHERE used_at >= :prepared_after OR EXISTS (SELECT 1 FROM runs r
            WHERE r.finished_at IS NULL AND r.repo_id = s.repo_id AND r.base_commit = s.commit)""",
    Kind.BASE: """
        SELECT (regexp_matches(s.outcome::text, :name, 'g'))[1], NULL
        FROM sandboxes s JOIN shared_runs o ON o.run_id = s.run_id
        WHERE o.cacheable OR o.dropped_at > :dropped_after""",
    Kind.PATCH: """
        SELECT j.patch_sha256, r.finished_at FROM judgements j JOIN runs r ON r.id = j.run_id
        UNION ALL
        SELECT a.patch_sha256, r.finished_at FROM sessions a JOIN runs r ON r.id = a.run_id
        UNION ALL
        SELECT t.patch_sha256, (SELECT max(finished_at) FROM runs r WHERE r.task_id = t.id)
        FROM tasks t""",
    Kind.DOCUMENT: """
        SELECT a.document_sha256, r.finished_at FROM sessions a JOIN runs r ON r.id = a.run_id""",
    Kind.REPORT: """
        SELECT j.report_sha256, r.finished_at FROM judgements j JOIN runs r ON r.id = j.run_id""",
    Kind.JUDGED_IN: """
        SELECT layer.sha256, r.finished_at
        FROM judgements j JOIN runs r ON r.id = j.run_id
            JOIN environments e ON e.id = j.environment_id,
            LATERAL jsonb_array_elements_text(e.layers) layer (sha256)
        WHERE j.report_sha256 IS NOT NULL""",
    Kind.CAPSULE: """
        SELECT i ->> 'sha256', r.finished_at FROM sandboxes s JOIN runs r ON r.id = s.run_id,
            jsonb_path_query(s.spec, '$.inputs[*]') i
        WHERE i ->> 'path' = :capsule""",
    Kind.LOG: """
        SELECT one #>> '{}', r.finished_at FROM sandboxes s JOIN runs r ON r.id = s.run_id,
            jsonb_path_query(s.outcome, '$.streams.*.sha256') one""",
    Kind.OUTPUT: """
        SELECT one #>> '{}', r.finished_at FROM sandboxes s JOIN runs r ON r.id = s.run_id,
            jsonb_path_query(s.outcome, '$.outputs.*.sha256') one
        UNION ALL
        SELECT one #>> '{}', r.finished_at FROM sandboxes s JOIN runs r ON r.id = s.run_id,
            jsonb_path_query(s.outcome, '$.collected.*.sha256') one""",
    Kind.INPUT: """
        SELECT (regexp_matches(s.spec::text, :name, 'g'))[1], r.finished_at
        FROM sandboxes s JOIN runs r ON r.id = s.run_id""",
}


async def names(sessions: Sessions, keep: Keep, now: datetime) -> AsyncIterator[Name]:
    """Every name, in one snapshot: a run that moves meanwhile is seen before or after that."""
    given = {**_FIXED, "prepared_after": now - keep.prepared, "dropped_after": now - HELD}
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        for kind, query in _QUERIES.items():
            found = await session.stream(_bound(query, given))
            async for sha256, since in found:
                if sha256 is not None:
                    yield Name(kind, sha256, since)


async def drop(session: AsyncSession, keep: Keep, now: datetime) -> None:
    """Trees that nobody has used for long, and base results made long ago, are found no more.

    Who finds an environment or a snapshot moves `used_at` in the same statement: it is found and
    stays, or is gone and made anew. What has found it before and lives has it in its own rows.
    """
    ages = {
        "prepared_after": now - keep.prepared,
        "results_after": now - keep.results,
        "now": now,
    }
    for statement in _DROPS:
        await session.execute(_bound(statement, ages))


_DROPS = (
    """
    DELETE FROM environments e WHERE used_at < :prepared_after AND NOT EXISTS (
        SELECT 1 FROM runs r
            LEFT JOIN judgements j ON j.run_id = r.id
            LEFT JOIN sessions a ON a.run_id = r.id
            LEFT JOIN shared_runs o ON o.run_id = r.id
        WHERE r.finished_at IS NULL
            AND e.id IN (j.environment_id, a.environment_id, o.environment_id))
        AND NOT EXISTS (
            SELECT 1 FROM judgements j JOIN runs r ON r.id = j.run_id
            WHERE j.environment_id = e.id AND j.report_sha256 IS NOT NULL
                AND r.finished_at >= :results_after)""",
    """
    DELETE FROM snapshots s WHERE used_at < :prepared_after AND NOT EXISTS (SELECT 1 FROM runs r
        WHERE r.finished_at IS NULL AND r.repo_id = s.repo_id AND r.base_commit = s.commit)""",
    """
    UPDATE shared_runs o SET cacheable = false, dropped_at = :now FROM runs r
    WHERE r.id = o.run_id AND o.cacheable AND r.finished_at < :prepared_after""",
)


def _bound(statement: str, values: Mapping[str, object]) -> TextClause:
    """With those of the values that it asks for."""
    found = text(statement)
    return found.bindparams(**{name: values[name] for name in found.compile().params})

"""Alembic's entry point: runs on `control_plane.db.migrate`'s connection, in its transaction."""

from alembic import context

from control_plane.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()

"""Alembic's entry point: runs on the connection that `control_plane.db.migrate` hands over, in its one transaction."""

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

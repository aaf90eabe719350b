"""The database: engine, tables' base, migrations, and the embedded PostgreSQL."""

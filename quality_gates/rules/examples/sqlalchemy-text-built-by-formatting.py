from sqlalchemy import text

def find(connection, name):
    # ruleid: sqlalchemy-text-built-by-formatting
    return connection.execute(text(f"SELECT * FROM users WHERE name = '{name}'"))

def bound(connection, name):
    # ok: sqlalchemy-text-built-by-formatting
    return connection.execute(text("SELECT * FROM users WHERE name = :name"), {"name": name})

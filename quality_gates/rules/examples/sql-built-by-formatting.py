def find(cursor, name):
    # ruleid: sql-built-by-formatting
    cursor.execute(f"SELECT * FROM users WHERE name = '{name}'")

def remove(cursor, key):
    statement = "DELETE FROM users WHERE key = %s" % key
    # ruleid: sql-built-by-formatting
    cursor.execute(statement)

def placeholder(cursor, name):
    # ok: sql-built-by-formatting
    cursor.execute("SELECT * FROM users WHERE name = %s", (name,))

def joined(cursor, name):
    # ok: sql-built-by-formatting
    cursor.execute("SELECT * FROM users " + "WHERE name = ?", (name,))

def not_sql(executor, name):
    # ok: sql-built-by-formatting
    executor.execute(f"step {name}")

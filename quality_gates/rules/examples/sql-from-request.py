import sqlalchemy
from flask import request

def find(cursor):
    name = request.args.get("name")
    # ruleid: sql-from-request
    cursor.execute("SELECT * FROM users WHERE name = '" + name + "'")

@app.get("/users/{name}")
def one(name: str, connection):
    # ruleid: sql-from-request
    return connection.execute(sqlalchemy.text(f"SELECT * FROM users WHERE name = '{name}'"))

def page(cursor):
    # ok: sql-from-request
    cursor.execute(f"SELECT * FROM users OFFSET {int(request.args['offset'])}")

def placeholder(cursor):
    # ok: sql-from-request
    cursor.execute("SELECT * FROM users WHERE name = %s", (request.args["name"],))

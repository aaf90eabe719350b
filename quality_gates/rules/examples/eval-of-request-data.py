import ast
from flask import request

def calculate():
    # ruleid: eval-of-request-data
    return eval(request.args["sum"])

@app.get("/run/{code}")
async def run(code: str):
    # ruleid: eval-of-request-data
    exec(code)

@app.get("/square/{number}")
def square(number: int):
    # ok: eval-of-request-data
    return eval(f"number ** 2", {"number": number})

def safe():
    # ok: eval-of-request-data
    return ast.literal_eval(request.args["value"])

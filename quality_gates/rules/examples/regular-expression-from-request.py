import re
from flask import request

def find(lines):
    # ruleid: regular-expression-from-request
    return [line for line in lines if re.search(request.args["pattern"], line)]

def plain(lines):
    # ok: regular-expression-from-request
    return [line for line in lines if re.search(re.escape(request.args["pattern"]), line)]

def subject():
    # ok: regular-expression-from-request
    return re.fullmatch(r"[a-z]+", request.args["name"])

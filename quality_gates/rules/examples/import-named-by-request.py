import importlib
from flask import request

PLUGINS = {"csv": "reports.csv"}

def load():
    # ruleid: import-named-by-request
    return importlib.import_module("reports." + request.args["format"])

def choose():
    # ok: import-named-by-request
    return importlib.import_module("reports.csv")

import json
import pickle
from flask import request

def restore():
    # ruleid: unpickle-request-data
    return pickle.loads(request.data)

def cookie():
    state = request.cookies["state"]
    # ruleid: unpickle-request-data
    return pickle.loads(bytes.fromhex(state))

def parsed():
    # ok: unpickle-request-data
    return json.loads(request.data)

def own(path):
    # ok: unpickle-request-data
    return pickle.loads(path.read_bytes())

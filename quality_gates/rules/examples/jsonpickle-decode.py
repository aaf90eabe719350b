import json
import jsonpickle

def read(text):
    # ruleid: jsonpickle-decode
    return jsonpickle.decode(text)

def parsed(text):
    # ok: jsonpickle-decode
    return json.loads(text)

def written(thing):
    # ok: jsonpickle-decode
    return jsonpickle.encode(thing)

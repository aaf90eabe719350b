import os
from pathlib import Path
from flask import request, send_file
from werkzeug.utils import secure_filename

FOLDER = Path("/srv/files")

def download():
    # ruleid: path-from-request
    return send_file(os.path.join("/srv/files", request.args["name"]))

@app.get("/files/{name}")
def read(name: str):
    # ruleid: path-from-request
    return (FOLDER / name).read_text()

def cleaned():
    # ok: path-from-request
    return send_file(os.path.join("/srv/files", secure_filename(request.args["name"])))

def checked():
    path = (FOLDER / request.args["name"]).resolve()
    if not path.is_relative_to(FOLDER):
        raise ValueError(path)
    # ok: path-from-request
    return path.read_text()

@app.get("/pages/{number}")
def page(number: int):
    # ok: path-from-request
    return open(f"/srv/pages/{number}.txt").read()

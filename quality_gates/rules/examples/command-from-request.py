import os
import shlex
import subprocess
from flask import request

def ping():
    host = request.args["host"]
    # ruleid: command-from-request
    os.system("ping -c 1 " + host)

def convert():
    # ruleid: command-from-request
    subprocess.run(f"convert {request.form['name']} out.png", shell=True)

@app.post("/tool/{program}")
def tool(program: str):
    # ruleid: command-from-request
    subprocess.run([program, "--version"])

def repeat():
    count = int(request.args["count"])
    # ok: command-from-request
    os.system("beep -r %d" % count)

def quoted():
    # ok: command-from-request
    subprocess.run("ls " + shlex.quote(request.args["name"]), shell=True)

def listed():
    # ok: command-from-request
    subprocess.run(["ls", "--", request.args["name"]])

import asyncio
import os
import shlex

def remove(name):
    # ruleid: system-call-built-from-text
    os.system("rm -rf %s" % name)

def show(name):
    # ruleid: system-call-built-from-text
    return os.popen(f"cat {name}").read()

async def fetch(url):
    # ruleid: system-call-built-from-text
    await asyncio.create_subprocess_shell("curl {}".format(url))

def clear():
    # ok: system-call-built-from-text
    os.system("clear")

def quoted(name):
    # ok: system-call-built-from-text
    os.system("rm -rf " + shlex.quote(name))

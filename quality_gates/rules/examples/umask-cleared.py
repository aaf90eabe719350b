import os

def daemon():
    # ruleid: umask-cleared
    os.umask(0)

def strict():
    # ok: umask-cleared
    os.umask(0o077)

def current():
    # ok: umask-cleared
    before = os.umask(0)
    os.umask(before)
    return before
